"""Examples are found by their digests, or by the beginning of them."""

from __future__ import annotations

import pytest

from service.errors import InvalidRequest
from tests.service.server import HEAD, LABELS, InProcessServer, StartServer
from trunkline.digest import text_digest
from trunkline.v1 import heads_pb2


async def found(server: InProcessServer, *digests: str, label: str | None = None) -> list[str]:
    request = heads_pb2.ListExamplesRequest(head=HEAD, digests=digests, label=label)
    reply = await server.ask("ListExamples", request)
    assert not reply.next_page_token
    return [row.digest for row in reply.examples]


async def test_examples_are_found_in_their_order_each_once(server: InProcessServer) -> None:
    await server.create()
    await server.add(LABELS)
    first, second, third, _ = map(text_digest, LABELS)
    assert await found(server, third, first[:8], first.upper(), "0" * 64) == [first, third]
    assert await found(server, first, third, label="blue") == [third]
    assert await found(server, second[:63]) == [second]


@pytest.mark.parametrize(
    ("digests", "words"),
    [(["abcdefg0"], "8 to 64 hex"), (["0123456"], "8 to 64 hex"), (["0" * 8] * 1001, "1 to 1000")],
)
async def test_what_is_no_digest_is_refused(
    server: InProcessServer, digests: list[str], words: str
) -> None:
    await server.create()
    with pytest.raises(InvalidRequest, match=f"digests: .*{words}"):
        await found(server, *digests)


async def test_kept_inputs_come_along_as_long_as_they_fit(start_server: StartServer) -> None:
    async with start_server(max_message_bytes=2**20, max_image_bytes=2**19) as server:
        await server.create(keep_inputs=True)
        texts = [letter * 60_000 for letter in "abcdefghijklmnopqr"]
        await server.add(dict.fromkeys(texts, "long"))
        request = heads_pb2.ListExamplesRequest(head=HEAD, with_inputs=True)
        rows = (await server.ask("ListExamples", request)).examples
        assert [row.input.text for row in rows] == [*texts[:17], ""]
        assert all(row.has_input for row in rows)
        request.digests.append(rows[17].digest[:20])
        (alone,) = (await server.ask("ListExamples", request)).examples
        assert alone.input.text == texts[17]
        request.with_inputs = False
        (bare,) = (await server.ask("ListExamples", request)).examples
        assert not bare.HasField("input")


async def test_inputs_that_are_not_kept_do_not_come(server: InProcessServer) -> None:
    await server.create()
    await server.add(LABELS)
    request = heads_pb2.ListExamplesRequest(head=HEAD, with_inputs=True)
    for row in (await server.ask("ListExamples", request)).examples:
        assert not row.has_input
        assert not row.HasField("input")
