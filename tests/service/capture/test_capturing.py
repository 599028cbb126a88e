"""Inputs of the traffic are kept as the head says, and go as everything else of the tenant does."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update

from service.capture import queue as capture_queue
from service.capture.retention import RECORD_DAYS, CaptureRetention
from service.errors import InvalidRequest, PreconditionFailed
from service.requests.inputs import Kind
from service.store import schema
from service.store.tenants import counted, get_tenant
from tests.service.server import HEAD, InProcessServer, StartServer, texts, weights
from tests.service.tiny_backbone import FINGERPRINT
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2, reviews_pb2

ALWAYS = prediction_pb2.CAPTURE_CHOICE_ALWAYS
NEVER = prediction_pb2.CAPTURE_CHOICE_NEVER
DAY = 86_400.0


@pytest.fixture
async def capturing(server: InProcessServer) -> InProcessServer:
    """A server with a head that keeps all of its traffic."""
    request = heads_pb2.ImportHeadRequest(
        parent="tenants/acme",
        head_id="defects",
        backbone="tiny/text",
        fingerprint=FINGERPRINT,
        safetensors=weights(),
        labels=["no", "yes"],
    )
    await server.ask("ImportHead", request)
    await capture(server, random_share=1.0)
    return server


async def capture(server: InProcessServer, **rules: Any) -> heads_pb2.Head:
    request = heads_pb2.UpdateHeadRequest(name=HEAD, capture=heads_pb2.Capture(**rules))
    head: heads_pb2.Head = (await server.ask("UpdateHead", request)).head
    return head


async def kept(server: InProcessServer) -> list[Any]:
    """All rows, those that wait to be written, too."""
    await server.application._captures.store()
    query = select(schema.captures).order_by(schema.captures.c.number)
    return await server.application._database.read(lambda c: list(c.execute(query)))


async def lost(server: InProcessServer, reason: str) -> float:
    value = server.application.metrics.registry.get_sample_value(
        "trunkline_captures_lost_total", {"reason": reason}
    )
    return value or 0.0


async def test_an_input_is_kept_with_its_answer_and_its_names(capturing: InProcessServer) -> None:
    await capture(capturing, random_share=1.0, share=0.999999, days=2)
    await capturing.predict(
        *texts("one", "two"),
        top_k=1,
        external_ids=["a/1", ""],
        metadata=[common_pb2.Metadata(pairs={"line": "3"}), common_pb2.Metadata()],
    )
    one, two = await kept(capturing)
    assert (one.digest, one.kind, one.reason) == (text_digest("one"), "text", "random")
    assert (one.external_id, json.loads(one.metadata)) == ("a/1", {"line": "3"})
    assert (two.external_id, two.metadata) == (None, None)
    assert common_pb2.Input.FromString(one.input).text == "one"
    assert (one.sampled_at_random, one.chance) == (True, pytest.approx(0.999999))
    assert [label for label, _ in json.loads(one.answer)] == ["yes", "no"]
    assert (one.predicted, one.version, one.live) == ("yes", 1, False)
    assert one.margin == pytest.approx(2 * one.confidence - 1, abs=1e-6)
    assert one.expires_at - one.created_at == 2 * DAY
    assert (await capturing.head()).capture_count == 2


async def test_a_request_may_ask_for_it_and_against_it(capturing: InProcessServer) -> None:
    await capturing.predict(*texts("one"), capture=NEVER)
    assert await kept(capturing) == []
    await capture(capturing)
    await capturing.predict(*texts("one"))
    assert await kept(capturing) == []
    await capturing.predict(*texts("one"), capture=ALWAYS)
    await capturing.predict(*texts("one"), capture=ALWAYS)
    (row,) = await kept(capturing)
    assert (row.reason, row.sampled_at_random, row.chance) == ("always", False, None)
    assert await lost(capturing, "waiting") == 1


async def test_rules_are_not_asked_about_a_version_by_name(capturing: InProcessServer) -> None:
    await capturing.predict(*texts("one"), version=1)
    assert await kept(capturing) == []
    await capturing.predict(*texts("one"), version=1, capture=ALWAYS)
    assert len(await kept(capturing)) == 1


async def test_a_head_that_keeps_nothing_keeps_nothing(capturing: InProcessServer) -> None:
    assert not (await capture(capturing, off=True)).HasField("capture")
    await capturing.predict(*texts("one"))
    assert await kept(capturing) == []
    with pytest.raises(PreconditionFailed, match="keeps nothing of its traffic"):
        await capturing.predict(*texts("one"), capture=ALWAYS)


async def test_what_is_said_of_some_inputs_alone_is_refused(capturing: InProcessServer) -> None:
    with pytest.raises(InvalidRequest, match=r"external_ids: .*\(2\).* has 1"):
        await capturing.predict(*texts("one", "two"), external_ids=["a"])
    with pytest.raises(InvalidRequest, match="metadata"):
        await capturing.predict(*texts("one"), metadata=[common_pb2.Metadata()] * 2)
    reply = await capturing.predict(*texts("one", "two"), external_ids=["a\n", "b"])
    assert [(error.row, error.field) for error in reply.errors] == [(0, "external_id")]
    assert [row.external_id for row in await kept(capturing)] == ["b"]


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("share", 1.5, "from 0 to 1"),
        ("random_share", -0.1, "from 0 to 1"),
        ("conformal_level", 1.0, "above 0 and below 1"),
        ("per_hour", 10_001, "from 1 to 10,000"),
        ("max_count", 5, "from 60 to 100,000"),
        ("max_bytes", 1, "from 1,000,000 to 100,000,000,000"),
        ("days", 401, "from 1 to 400"),
        ("novel_share", 0.5, "0"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    capturing: InProcessServer, field: str, value: float, limit: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await capture(capturing, **{field: value})
    assert (refused.value.field, str(refused.value.limit)) == (f"capture.{field}", limit)


async def test_nothing_is_trained_on_what_was_captured(capturing: InProcessServer) -> None:
    await capturing.add({"red": "red", "blue": "blue"})
    await capturing.predict(*texts("red two", "blue two"))
    assert len(await kept(capturing)) == 2
    trained = await capturing.train()
    report = await capturing.report(version=trained.version)
    assert report.example_count == 2
    head = await capturing.head()
    assert (head.example_count, head.labelled_count, head.capture_count) == (2, 2, 2)


async def test_the_hour_has_a_quota_of_which_rules_leave_half(capturing: InProcessServer) -> None:
    await capture(capturing, per_hour=4, uncertain_share=1.0, uncertain_margin=1.0)
    await capturing.predict(*texts(*"abcdef"))
    assert [row.reason for row in await kept(capturing)] == ["uncertain"] * 4
    assert await lost(capturing, "hour") == 2
    await capture(capturing, per_hour=6, random_share=1.0)
    await capturing.predict(*texts(*"ghi"))
    assert [row.reason for row in await kept(capturing)][4:] == ["random"] * 2


async def test_servers_count_an_hour_together(capturing: InProcessServer) -> None:
    await capture(capturing, per_hour=2, random_share=1.0)
    await capturing.predict(*texts("a", "b"))
    await kept(capturing)
    capturing.application._captures._taken.clear()  # as another server's is
    await capturing.predict(*texts("c"))
    assert len(await kept(capturing)) == 2
    assert await lost(capturing, "hour") == 1


async def test_the_oldest_make_room_and_drawn_ones_leave_a_record(
    capturing: InProcessServer,
) -> None:
    await capture(capturing, random_share=1.0, per_hour=2, max_count=2)
    await capturing.predict(*texts("a", "b"))
    await kept(capturing)
    await move_back(capturing, DAY / 2)
    await capturing.predict(*texts("c"))
    first, *others = await kept(capturing)
    assert (first.state, first.digest, first.input, first.answer) == ("expired", "", None, "[]")
    assert [row.digest for row in others] == [text_digest("b"), text_digest("c")]
    assert await counts_hold(capturing)


async def test_what_expires_leaves_nothing_of_the_input(capturing: InProcessServer) -> None:
    await capture(capturing, random_share=1.0, days=1)
    await capturing.predict(*texts("a"), external_ids=["name"])
    await capturing.predict(*texts("b"), capture=ALWAYS)
    assert len(await kept(capturing)) == 2
    await retention(capturing, 2 * DAY).remove()
    (row,) = await kept(capturing)
    assert (row.state, row.digest, row.external_id, row.input) == ("expired", "", None, None)
    assert row.predicted == "yes"
    assert await vectors(capturing) == 0
    assert await counts_hold(capturing)
    await retention(capturing, (RECORD_DAYS + 1) * DAY).remove()
    assert await kept(capturing) == []


async def test_forgetting_takes_captures_and_what_waits(
    capturing: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_queue, "WRITE_SECONDS", 600.0)
    await capturing.predict(*texts("a", "b"))
    assert len(await kept(capturing)) == 2
    await capturing.predict(*texts("a"))
    forgotten = await capturing.forget(text_digest("a"))
    assert forgotten.forgotten == 1
    assert [row.digest for row in await kept(capturing)] == [text_digest("b")]
    assert await lost(capturing, "deleted") == 1
    assert await vectors(capturing) == 1


async def test_what_is_forgotten_while_it_is_written_does_not_come_back(
    capturing: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_queue, "WRITE_SECONDS", 600.0)
    captures = capturing.application._captures
    await capturing.predict(*texts("a", "b"))
    item = captures._waiting[0]
    writing = captures._database.write

    async def write(*args: Any, **more: Any) -> Any:
        captures._database.write = writing  # type: ignore[method-assign]
        done = await writing(*args, **more)
        captures._withdrawn.append(item)
        return done

    captures._database.write = write  # type: ignore[method-assign]
    assert [row.digest for row in await kept(capturing)] == [text_digest("b")]


async def test_a_digest_finds_what_was_captured(capturing: InProcessServer) -> None:
    await capturing.predict(*texts("a"))
    await kept(capturing)
    digest = text_digest("a")
    missing = heads_pb2.FindMissingInputsRequest(head=HEAD, digests=[digest])
    assert list((await capturing.ask("FindMissingInputs", missing)).missing) == []
    added = await capturing.add_rows(
        heads_pb2.NewExample(input=common_pb2.Input(digest=digest), label="red")
    )
    assert (added.added, list(added.errors)) == (1, [])
    await capturing.predict(common_pb2.Input(digest=digest))
    assert [row.kind for row in await kept(capturing)] == [Kind.TEXT, Kind.TEXT]


async def test_deleting_the_head_deletes_them(capturing: InProcessServer) -> None:
    await capturing.predict(*texts("a", "b"))
    await kept(capturing)
    await capturing.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=HEAD))
    assert await kept(capturing) == []
    assert await vectors(capturing) == 0


async def test_a_full_queue_is_counted(start_server: StartServer) -> None:
    async with start_server(capture_queued_bytes=2) as server:
        await server.create(capture=heads_pb2.Capture(random_share=1.0))
        await server.add({"red": "red", "blue": "blue"})
        await server.train()
        await server.predict(*texts("a", "long", "b", "c"))
        assert [row.digest for row in await kept(server)] == list(map(text_digest, "ab"))
        assert await lost(server, "queue") == 2


async def test_closing_writes_what_waits(start_server: StartServer) -> None:
    async with start_server() as server:
        await server.create(capture=heads_pb2.Capture(random_share=1.0))
        await server.add({"red": "red", "blue": "blue"})
        await server.train()
        await server.predict(*texts("a"))
    async with start_server() as server:
        assert len(await kept(server)) == 1


async def test_labels_are_renamed_in_what_was_captured(server: InProcessServer) -> None:
    await server.create(capture=heads_pb2.Capture(random_share=1.0))
    await server.add({"red": "red", "blue": "blue"})
    await server.train()
    await server.predict(*texts("red"))
    await kept(server)
    await server.ask(
        "RenameLabel", heads_pb2.RenameLabelRequest(head=HEAD, label="red", new_label="rot")
    )
    (row,) = await kept(server)
    assert row.predicted in ("rot", "blue")
    assert {label for label, _ in json.loads(row.answer)} == {"rot", "blue"}


async def move_back(server: InProcessServer, seconds: float) -> None:
    """Has all of them captured earlier."""
    table = schema.captures

    def move(connection: Connection) -> None:
        connection.execute(update(table).values(created_at=table.c.created_at - seconds))

    await server.application._database.write(move)
    server.application._captures._taken.clear()


async def vectors(server: InProcessServer) -> int:
    query = select(func.count()).select_from(schema.embeddings)
    return await server.application._database.read(lambda c: c.scalar(query) or 0)


async def counts_hold(server: InProcessServer) -> bool:
    """Whether the tenant's stored bytes are as counted anew."""

    def both(connection: Connection) -> bool:
        tenant = get_tenant(connection, "acme")
        return counted(connection, tenant.id)[1] == tenant.stored_bytes

    return await server.application._database.read(both)


def retention(server: InProcessServer, later: float) -> CaptureRetention:
    application = server.application
    return CaptureRetention(
        application._database,
        application._tasks,
        application.metrics,
        lambda: time.time() + later,
    )


async def test_page_of_reviews_with_neighbours_is_small_enough_for_a_message(
    capturing: InProcessServer,
) -> None:
    await capture(capturing, random_share=1.0, per_hour=1000)
    await capturing.predict(*texts(*(f"text {number}" for number in range(101))))
    assert len(await kept(capturing)) == 101

    async def page(**more: Any) -> reviews_pb2.ListReviewsResponse:
        request = reviews_pb2.ListReviewsRequest(head=HEAD, page_size=1000, **more)
        reply: reviews_pb2.ListReviewsResponse = await capturing.ask("ListReviews", request)
        return reply

    assert len((await page()).reviews) == 101
    first = await page(neighbours=1)
    assert len(first.reviews) == 100
    rest = await page(neighbours=1, page_token=first.next_page_token)
    assert (len(rest.reviews), rest.next_page_token) == (1, "")


async def test_damaged_embedding_keeps_nobody_from_the_reviews(capturing: InProcessServer) -> None:
    await capturing.add({"one": "yes", "two": "no"})
    await capturing.predict(*texts("one", "three"))
    await kept(capturing)

    def damage(connection: Connection) -> None:
        rows = update(schema.embeddings).filter_by(digest=text_digest("three"))
        connection.execute(rows.values(crc32=7))

    await capturing.application._database.write(damage)
    request = reviews_pb2.ListReviewsRequest(head=HEAD, neighbours=2)
    reply = await capturing.ask("ListReviews", request)
    found = {row.digest: [one.digest for one in row.neighbours] for row in reply.reviews}
    assert found == {
        text_digest("one"): [text_digest("one"), text_digest("two")],
        text_digest("three"): [],
    }
