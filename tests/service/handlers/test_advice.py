"""The RPC Advise, on a tiny backbone that tells texts by their first letter."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from service.errors import Aborted, InvalidRequest, PreconditionFailed, QueueFull
from tests.service.server import InProcessServer, StartServer
from trunkline.digest import text_digest
from trunkline.resources import InvalidName
from trunkline.v1 import advice_pb2, common_pb2, heads_pb2

pytestmark = pytest.mark.costly

Rows = Iterable[tuple[common_pb2.Input, str]]
COLOURS = ("red", "blue")
WORDS = ("ash", "elm", "fir", "oak", "yew", "fig", "bay", "box", "gum", "may", "sal", "tea")


def text(words: str) -> common_pb2.Input:
    return common_pb2.Input(text=words)


def pairs(count: int) -> list[tuple[common_pb2.Input, str]]:
    """Texts whose first letter, which is what the backbone sees most of, is their label's."""
    rng = np.random.default_rng(0)
    return [
        (text(" ".join([label, *rng.choice(WORDS, 5)])), label)
        for _ in range(count)
        for label in COLOURS
    ]


def message(rows: Rows, parent: str = "tenants/acme", **more: Any) -> advice_pb2.AdviseRequest:
    examples = [advice_pb2.LabelledInput(input=item, label=label) for item, label in rows]
    return advice_pb2.AdviseRequest(parent=parent, examples=examples, **more)


async def advise(
    server: InProcessServer, *messages: advice_pb2.AdviseRequest
) -> advice_pb2.AdviseResponse:
    async def stream() -> AsyncIterator[advice_pb2.AdviseRequest]:
        for one in messages:
            yield one

    handler = server.application.handlers["Advise"]
    reply: advice_pb2.AdviseResponse = await handler(stream(), server.call("Advise", None))
    return reply


def names(advice: advice_pb2.Advice) -> set[str]:
    return {option.name for option in advice.options}


async def test_a_stream_is_advised_on_and_nothing_is_stored(server: InProcessServer) -> None:
    rows = pairs(20)
    reply = await advise(server, message(rows[:25]), message(rows[25:], parent=""))
    advice = reply.advice
    assert (advice.example_count, reply.failed) == (40, 0)
    assert {row.label: row.examples for row in advice.classes} == {"red": 20, "blue": 20}
    assert names(advice) == {"majority", "direct", "tiny/text"}
    assert advice.verdict in (advice_pb2.VERDICT_EITHER, advice_pb2.VERDICT_TRANSFER)
    assert advice.summary
    assert len(advice.reasons) >= 2
    by_name = {option.name: option for option in advice.options}
    assert by_name["tiny/text"].HasField("log_evidence")
    assert not by_name["direct"].HasField("effective_rank")
    assert by_name["tiny/text"].estimate.accuracy == 1
    assert all(option.seconds > 0 for option in advice.options)
    assert len(by_name["direct"].learning_curve) > 1
    heads = await server.ask("ListHeads", heads_pb2.ListHeadsRequest(parent="tenants/acme"))
    assert len(heads.heads) == 0


async def test_bad_rows_cost_themselves_alone_and_near_duplicates_are_listed(
    server: InProcessServer,
) -> None:
    bad = [
        (text(""), "red"),
        (text("red"), ""),
        (text("bad to decode"), "red"),
        (common_pb2.Input(digest=text_digest("red")), "red"),
        (text("the only one"), "lonely"),
    ]
    rows = pairs(10)
    twice = (rows[0][0], "blue")
    reply = await advise(server, message([*rows, *bad]), message([twice], parent=""))
    assert reply.advice.example_count == 21
    assert reply.failed == 5
    assert [error.row for error in reply.errors] == [20, 21, 22, 23, 24]
    fields = [error.field for error in reply.errors]
    assert fields == ["text", "label", "text", "input", "label"]
    assert all(error.code == "INVALID_ARGUMENT" for error in reply.errors)
    assert "lonely" in reply.errors[4].message
    pair = reply.advice.near_duplicates[0]
    assert pair.digest == pair.other_digest == text_digest(rows[0][0].text)
    assert {pair.label, pair.other_label} == set(COLOURS)
    assert reply.advice.near_duplicate_count >= 1


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        ([(text(f"red {i}"), "red") for i in range(8)], "examples"),
        ([(text("red"), "red"), (text("blue"), "blue")], "examples"),
        ([], "examples"),
        ([(text(""), "red")], "examples"),
        ([(text("red"), "red"), (common_pb2.Input(image=b"x"), "blue")], "examples"),
    ],
    ids=["one class", "too few", "no rows", "bad rows only", "both modalities"],
)
async def test_a_stream_that_says_too_little_is_refused(
    server: InProcessServer, rows: Sequence[tuple[common_pb2.Input, str]], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await advise(server, message(rows))
    assert refused.value.field == field


async def test_a_stream_of_inputs_that_cannot_be_decoded_says_why(server: InProcessServer) -> None:
    rows = [(text(f"bad {i}"), COLOURS[i % 2]) for i in range(8)]
    with pytest.raises(InvalidRequest, match=r"there are 0 among 8 rows; the first: .*bad 0"):
        await advise(server, message(rows))


async def test_of_many_bad_rows_the_first_are_named_and_all_are_counted(
    server: InProcessServer,
) -> None:
    bad = [message([(text("red"), "")] * 600) for _ in range(2)]
    reply = await advise(server, message(pairs(10)), *bad)
    assert (len(reply.errors), reply.failed) == (1000, 1200)
    assert [error.row for error in reply.errors] == [*range(20, 1020)]


async def test_more_labels_than_examples_are_looked_at_are_refused(
    start_server: StartServer,
) -> None:
    more = [(text(f"green {i}"), f"green {i}") for i in range(10)]
    async with start_server(max_advice_examples=8) as server:
        reply = await advise(server, message([*pairs(4), *more]))
    refused = [error for error in reply.errors if "different ones" in error.message]
    assert [(error.row, error.field) for error in refused] == [
        *((row, "label") for row in range(14, 18))
    ]


async def test_an_empty_stream_is_refused(server: InProcessServer) -> None:
    with pytest.raises(InvalidRequest, match="no message"):
        await advise(server)


async def test_a_stream_is_for_one_tenant(server: InProcessServer) -> None:
    with pytest.raises(InvalidRequest, match="one tenant"):
        await advise(server, message(pairs(2)), message(pairs(2), parent="tenants/other"))
    with pytest.raises(InvalidName):
        await advise(server, message(pairs(2), parent=""))


async def test_images_need_a_backbone_that_takes_them(server: InProcessServer) -> None:
    images = [(common_pb2.Input(image=bytes([i])), label) for i in range(4) for label in COLOURS]
    with pytest.raises(PreconditionFailed, match="image"):
        await advise(server, message(images))
    with pytest.raises(InvalidRequest, match="takes text inputs"):
        await advise(server, message(images, backbones=["tiny/text"]))
    with pytest.raises(PreconditionFailed, match="is not loaded"):
        await advise(server, message(pairs(2), backbones=["other/one"]))


async def test_of_many_examples_a_sample_is_looked_at(start_server: StartServer) -> None:
    async with start_server(max_advice_examples=20) as server:
        advice = (await advise(server, message(pairs(30)))).advice
    assert advice.example_count == 20
    assert {row.examples for row in advice.classes} == {10}
    assert "60 examples were sent" in advice.reasons[0]


async def test_inputs_that_the_tenant_has_stored_are_not_embedded_again(
    start_server: StartServer,
) -> None:
    async with start_server(embedding_cache_bytes=0) as server:
        await server.create()
        await server.add({item.text: label for item, label in pairs(10)})
        before = len(server.backbone.batches)
        await advise(server, message(pairs(10)))
        assert len(server.backbone.batches) == before
        await advise(server, message(pairs(10), parent="tenants/other"))
        assert len(server.backbone.batches) > before


async def test_a_tenant_is_advised_once_at_a_time(server: InProcessServer) -> None:
    server.backbone.open.clear()
    first = asyncio.create_task(advise(server, message(pairs(10))))
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_batch() -> None:
        loop.call_soon_threadsafe(reached.set)

    server.backbone.on_batch = on_batch
    await reached.wait()
    with pytest.raises(QueueFull) as refused:
        await advise(server, message(pairs(2)))
    assert refused.value.retry_after
    server.backbone.open.set()
    assert (await first).advice.example_count == 20


async def test_a_stream_that_stands_still_loses_its_place(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.handlers.advice.IDLE_SECONDS", 0.05)

    async def stream() -> AsyncIterator[advice_pb2.AdviseRequest]:
        yield message(pairs(2))
        await asyncio.Event().wait()

    handler = server.application.handlers["Advise"]
    with pytest.raises(Aborted, match="no message came") as caught:
        await handler(stream(), server.call("Advise", None))
    assert (caught.value.field, caught.value.limit) == ("examples", 0.05)
    assert (await advise(server, message(pairs(20)))).advice.example_count == 40


async def test_when_the_client_leaves_the_comparison_ends(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: asyncio.Future[asyncio.subprocess.Process] = asyncio.Future()
    start = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await start(*arguments, **options)
        started.set_result(process)
        return process

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "create_subprocess_exec", noted)
        asked = asyncio.create_task(advise(server, message(pairs(30))))
        process = await started
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert process.returncode == -signal.SIGKILL
    assert (await advise(server, message(pairs(10)))).advice.example_count == 20
