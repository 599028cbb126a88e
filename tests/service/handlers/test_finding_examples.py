"""Examples are found by their digests, or by the beginning of them."""

from __future__ import annotations

import pytest

from service.errors import InvalidRequest
from tests.service.server import HEAD, LABELS, InProcessServer
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
