"""Forgetting examples: from answers, from versions, from memory, and from the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, select

from service.errors import Aborted, InvalidRequest, NotFound, PreconditionFailed, Unavailable
from service.fitting.process import FitProcess
from service.fitting.task import FitTask
from service.store import Database, forgetting, schema
from service.store import examples as stored_examples
from service.store import kept_inputs as stored_inputs
from service.store import versions as stored_versions
from service.store.forgetting import Plan
from service.store.jobs import NewVersion
from service.store.sqlite import SqliteDatabase
from service.store.view_digests import view_digest
from tests.service.server import HEAD, LABELS, InProcessServer, StartServer, best, texts
from tests.service.store.records import add_examples, example, new_head
from tests.service.tiny_backbone import vector_of
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2

SECRET = "red secret that nobody may keep"
DIGEST = text_digest(SECRET)
MANY = {f"{colour} {i}": colour for i in range(8) for colour in ("red", "blue")}
NOVEL = heads_pb2.HeadSpec(family="ridge", novelty=heads_pb2.Novelty(false_alarm_rate=0.3))


def needles(text: str) -> dict[str, bytes]:
    """What of an example could be on disk."""
    digest = text_digest(text)
    return {
        "input": text.encode(),
        "embedding": vector_of(text).astype("<f4").tobytes(),
        "digest": digest.encode(),
        "raw digest": bytes.fromhex(digest),
    }


def found_on_disk(data: Path, wanted: dict[str, bytes]) -> list[str]:
    """Those of the needles that are in any file, journals included.

    Files split long values, so what versions know is looked through once more in one piece.
    """
    content = b"\n".join(path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file())
    content += b"\n".join(known_to_versions(data))
    return [name for name, needle in wanted.items() if needle in content]


def known_to_versions(data: Path) -> list[bytes]:
    copy = data.parent / f"{data.name}-copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy)
    database = SqliteDatabase(copy)
    try:
        with database._read_engine.connect() as connection:
            return list(connection.scalars(select(schema.members.c.digests)))
    finally:
        database.close()


@pytest.mark.sqlite_file
async def test_nothing_of_a_forgotten_example_is_left_on_disk(
    start_server: StartServer, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with start_server(data_dir=data) as server:
        await server.create(keep_inputs=True, spec=NOVEL)
        await server.add({**MANY, SECRET: "red"})
        await server.train()
        await server.feedback({SECRET: "blue"})
        everything = list(needles(SECRET))
        assert found_on_disk(data, needles(SECRET)) == everything, "the search must find it"
        response = await server.forget(DIGEST)
        assert (response.forgotten, list(response.errors)) == (1, [])
        assert found_on_disk(data, needles(SECRET)) == []
        assert found_on_disk(data, needles("red 1")) == everything
    assert found_on_disk(data, needles(SECRET)) == []


@pytest.mark.sqlite_file
async def test_held_out_example_is_named_by_no_report_after_it_is_forgotten(
    start_server: StartServer, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with start_server(data_dir=data) as server:
        await server.create()
        await server.add(LABELS)
        rows = [("red x", False), (SECRET, True), ("red y", True)]
        await server.add_rows(
            *(
                heads_pb2.NewExample(
                    input=common_pb2.Input(text=text), label="red", group="one", held_out=held_out
                )
                for text, held_out in rows
            )
        )
        await server.train()
        assert DIGEST in (await server.report()).seen_held_out
        response = await server.forget(DIGEST)
        assert (list(response.deleted_versions), response.version) == ([], 1)
        assert list((await server.report()).seen_held_out) == [text_digest("red y")]
        assert found_on_disk(data, needles(SECRET)) == []


async def test_versions_that_knew_it_are_gone_and_a_new_one_answers(
    server: InProcessServer,
) -> None:
    await server.create(spec=NOVEL)
    await server.add(MANY)
    await server.train()
    await server.add({SECRET: "blue"})
    await server.train()
    await server.train(activate=False)
    before = await server.predict(*texts("red 1"))
    assert before.predictions[0].version == 2
    response = await server.forget(DIGEST)
    assert (list(response.deleted_versions), response.version) == ([2, 3], 4)
    assert (await server.report()).example_count == len(MANY)
    assert (await server.report()).spec == (await server.report(version=1)).spec
    prediction = await server.predict(*texts("red 1", "blue 1"))
    assert best(prediction) == ["red", "blue"]
    assert prediction.predictions[0].version == 4
    with pytest.raises(NotFound):
        await server.report(version=2)
    listed = await server.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    assert DIGEST not in {item.digest for item in listed.examples}


async def test_new_version_equals_one_that_never_knew_it(
    start_server: StartServer, tmp_path: Path
) -> None:
    heads = []
    for name, extra in (("knew", {SECRET: "blue"}), ("never", {})):
        async with start_server(data_dir=tmp_path / name) as server:
            await server.create(spec=NOVEL)
            await server.add({**extra, **MANY})
            await server.train()
            if extra:
                await server.forget(DIGEST)
            heads.append(await server.exported())
    knew, never = heads
    np.testing.assert_array_equal(knew.weight, never.weight)
    np.testing.assert_array_equal(knew.bias, never.bias)
    assert knew.front is not None
    assert never.front is not None
    np.testing.assert_array_equal(knew.front.mean, never.front.mean)
    assert knew.novelty is not None
    assert never.novelty is not None
    np.testing.assert_array_equal(knew.novelty.bank, never.novelty.bank)


async def test_digest_of_a_forgotten_example_is_unknown_in_memory_too(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add({**LABELS, SECRET: "red"})
    await server.train()
    by_digest = common_pb2.Input(digest=DIGEST)
    assert not (await server.predict(by_digest)).errors
    await server.forget(DIGEST)
    response = await server.predict(by_digest)
    assert [error.code for error in response.errors] == ["NOT_FOUND"]


async def test_forgotten_feedback_is_blank_and_no_longer_behind_the_live_copy(
    server: InProcessServer,
) -> None:
    await server.create(policy=heads_pb2.FEEDBACK_POLICY_IMMEDIATE)
    await server.add(MANY)
    await server.train()
    await server.feedback({SECRET: "blue", "red other": "red"})
    await server.predict(*texts("red 1"))
    response = await server.forget(DIGEST)
    assert (list(response.deleted_versions), response.version) == ([], 1)
    listed = await server.ask("ListFeedback", heads_pb2.ListFeedbackRequest(head=HEAD))
    rows = {item.digest: (item.label, item.state) for item in listed.feedback}
    assert rows == {
        "": ("", heads_pb2.FEEDBACK_STATE_SUPERSEDED),
        text_digest("red other"): ("red", heads_pb2.FEEDBACK_STATE_LIVE),
    }
    copy = (await server.head()).live
    assert (copy.feedback_count, copy.scored) == (1, 1)


async def test_head_with_too_few_examples_left_answers_no_more(server: InProcessServer) -> None:
    await server.create()
    await server.add({"red one": "red", SECRET: "blue"})
    await server.train()
    assert best(await server.predict(*texts(SECRET))) == ["blue"]
    response = await server.forget(DIGEST)
    assert (list(response.deleted_versions), response.version) == ([1], 0)
    assert (await server.head()).active_version == 0
    with pytest.raises(PreconditionFailed, match="no active version"):
        await server.predict(*texts("red one"))


async def test_example_that_no_version_knew_costs_no_refit(server: InProcessServer) -> None:
    await server.create()
    await server.add(LABELS)
    await server.train()
    await server.add_rows(heads_pb2.NewExample(input=common_pb2.Input(text=SECRET)))
    response = await server.forget(DIGEST)
    assert (response.forgotten, list(response.deleted_versions), response.version) == (1, [], 1)


async def test_example_that_was_deleted_before_is_forgotten_by_its_versions(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add({**LABELS, SECRET: "red"})
    await server.train()
    await server.delete(DIGEST)
    response = await server.forget(DIGEST)
    assert (response.forgotten, list(response.deleted_versions)) == (1, [1])


async def test_feedback_on_an_example_that_was_deleted_before_is_forgotten(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add(MANY)
    await server.train()
    await server.feedback({SECRET: "blue"})
    await server.delete(DIGEST)
    response = await server.forget(DIGEST)
    assert (response.forgotten, list(response.errors)) == (1, [])
    listed = await server.ask("ListFeedback", heads_pb2.ListFeedbackRequest(head=HEAD))
    assert [(item.digest, item.label) for item in listed.feedback] == [("", "")]


async def test_other_heads_that_hold_it_are_named_and_keep_it(server: InProcessServer) -> None:
    other = "tenants/acme/heads/other"
    await server.create()
    await server.create(other)
    await server.add({**LABELS, SECRET: "red"})
    await server.add({SECRET: "red"}, head=other)
    response = await server.forget(DIGEST)
    assert list(response.held_by) == [other]
    await server.train()
    assert not (await server.predict(common_pb2.Input(digest=DIGEST))).errors
    assert not (await server.forget(DIGEST, head=other)).held_by
    (error,) = (await server.predict(common_pb2.Input(digest=DIGEST))).errors
    assert error.code == "NOT_FOUND"


async def test_heads_of_another_tenant_that_hold_it_are_not_named_and_keep_it(
    server: InProcessServer,
) -> None:
    theirs = "tenants/bolt/heads/theirs"
    await server.create()
    await server.add({SECRET: "red"})
    await server.create(theirs)
    await server.add({**LABELS, SECRET: "red"}, head=theirs)
    await server.train(theirs)
    assert not (await server.forget(DIGEST)).held_by
    assert not (await server.predict(common_pb2.Input(digest=DIGEST), head=theirs)).errors


async def test_feedback_of_another_head_is_neither_blanked_nor_scored_anew(
    server: InProcessServer,
) -> None:
    other = "tenants/acme/heads/other"
    for head in (HEAD, other):
        await server.create(head, policy=heads_pb2.FEEDBACK_POLICY_IMMEDIATE)
        await server.add(MANY, head=head)
        await server.train(head)
        await server.feedback({SECRET: "blue"}, head=head)
        await server.predict(*texts("red 1"), head=head)
    listing = heads_pb2.ListFeedbackRequest(head=other)
    before = await server.ask("ListFeedback", listing)
    assert [(item.label, item.HasField("active_right")) for item in before.feedback] == [
        ("blue", True)
    ]
    await server.forget(DIGEST)
    assert await server.ask("ListFeedback", listing) == before


async def test_rows_that_cannot_be_forgotten_cost_themselves_alone(server: InProcessServer) -> None:
    await server.create()
    await server.add({SECRET: "red"})
    response = await server.forget("0" * 64, DIGEST, "nonsense", DIGEST)
    assert response.forgotten == 1
    assert [(error.row, error.code) for error in response.errors] == [
        (0, "NOT_FOUND"),
        (2, "INVALID_ARGUMENT"),
    ]
    with pytest.raises(InvalidRequest):
        await server.forget()


async def test_a_failed_refit_forgets_nothing(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.create()
    await server.add({**LABELS, SECRET: "red"})
    await server.train()

    async def die(self: FitProcess, task: FitTask, progress: object) -> None:
        raise Aborted("no")

    with monkeypatch.context() as patch:
        patch.setattr(FitProcess, "fit", die)
        with pytest.raises(Aborted):
            await server.forget(DIGEST)
    assert not (await server.predict(common_pb2.Input(digest=DIGEST))).errors
    assert (await server.head()).example_count == len(LABELS) + 1
    assert (await server.forget(DIGEST)).forgotten == 1


@pytest.mark.sqlite_file
async def test_server_that_dies_before_the_journal_is_empty_leaves_nothing_to_the_next(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, crashed = tmp_path / "data", tmp_path / "crashed"

    async def die(self: Database) -> None:
        shutil.copytree(data, crashed)  # what the disk holds at that moment
        raise Unavailable("killed")

    async with start_server(data_dir=data) as server:
        await server.create(keep_inputs=True)
        await server.add({**LABELS, SECRET: "red"})
        monkeypatch.setattr(SqliteDatabase, "checkpoint", die)
        with pytest.raises(Unavailable):
            await server.forget(DIGEST)
    SqliteDatabase(crashed).close()
    assert found_on_disk(crashed, needles(SECRET)) == []


def planned(connection: Connection, uid: str) -> Plan:
    return forgetting.plan(connection, uid, [DIGEST])


async def test_forgetting_is_one_step_that_fails_whole(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example(SECRET, "a"), example("y", "b"))
    plan = await database.read(planned, head.uid)
    impossible = NewVersion(("a",), {"not": {"json"}}, b"", {})
    with pytest.raises(TypeError):
        await database.write(forgetting.forget, head.uid, plan, impossible)
    assert await database.read(planned, head.uid) == plan
    assert plan == Plan(frozenset({DIGEST}), versions=(), active_version=0, last_version=0)


async def test_forgetting_starts_again_if_a_version_has_learned_it_meanwhile(
    database: Database,
) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example(SECRET, "a"))
    plan = await database.read(planned, head.uid)
    await database.write(
        stored_versions.add_version,
        head.uid,
        source="feedback",
        labels=("a", "b"),
        report={},
        example_count=1,
        safetensors=b"w",
        activate=True,
        members={DIGEST: "a"},
    )
    with pytest.raises(Aborted):
        await database.write(forgetting.forget, head.uid, plan, None)
    assert await database.read(stored_inputs.find_kinds, "acme", [DIGEST])


async def test_views_are_forgotten_with_their_image(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example(SECRET, "a"))
    views = {DIGEST: {view_digest(DIGEST, 31): vector_of("view")}}
    await database.write(stored_examples.store_views, head.uid, views)
    plan = await database.read(planned, head.uid)
    await database.write(forgetting.forget, head.uid, plan, None)
    assert await database.read(lambda c: c.execute(select(schema.embeddings)).all()) == []
