"""That a text is longer than the backbone's window is known wherever its embedding is."""

from __future__ import annotations

from tests.service.server import LABELS, StartServer
from tests.service.tail_heads import MANY, tuned
from tests.service.tiny_backbone import MAX_LETTERS
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2

LONG = "red " * MAX_LETTERS
LONG_AND_SHORT = [common_pb2.Input(digest=text_digest(text)) for text in (LONG, "red 1")]


async def test_long_text_is_known_by_its_digest_after_a_restart(start_server: StartServer) -> None:
    async with start_server() as server:
        await server.create()
        await server.add({**LABELS, "red 1": "red", LONG: "red"})
        await server.train()
    async with start_server() as server:
        assert list((await server.predict(*LONG_AND_SHORT)).truncated) == [0]
        assert (await server.report()).truncated_count == 1
        assert list((await server.feedback({LONG: "red"})).truncated) == [0]


async def test_long_text_is_known_where_a_tail_answers(start_server: StartServer) -> None:
    async with start_server() as server:
        await server.create(keep_inputs=True)
        labels = {**MANY, LONG: "red"}
        await server.add(labels)
        await tuned(server, labels)
    async with start_server() as server:
        assert list((await server.predict(*LONG_AND_SHORT)).truncated) == [0]
        assert (await server.report()).truncated_count == 1


async def test_long_text_is_known_after_its_head_has_moved(start_server: StartServer) -> None:
    async with start_server() as server:
        await server.create(keep_inputs=True)
        await server.add({**MANY, LONG: "red", "red 1": "red"})
        await server.train()
    async with start_server(fingerprint="0" * 64) as server:
        await server.train(backbone="tiny/text")
        assert (await server.report()).truncated_count == 1
        assert list((await server.predict(*LONG_AND_SHORT)).truncated) == [0]
    async with start_server(fingerprint="0" * 64) as server:
        assert list((await server.predict(*LONG_AND_SHORT)).truncated) == [0]
