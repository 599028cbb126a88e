"""Inputs of exactly the maximal length, one less and one more: each is answered or refused."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import InvalidRequest
from tests.service.server import InProcessServer, StartServer, texts
from tests.service.tiny_backbone import MAX_LETTERS
from trunkline.v1 import extraction_pb2

ROWS, LETTERS = 4, 600


async def embed(server: InProcessServer, *words: str) -> extraction_pb2.EmbedResponse:
    request = extraction_pb2.EmbedRequest(
        tenant="tenants/acme", backbone=server.backbone.name, inputs=texts(*words)
    )
    async with asyncio.timeout(60):
        reply: extraction_pb2.EmbedResponse = await server.ask("Embed", request)
    return reply


async def test_whatever_is_as_long_as_a_limit_is_answered_and_what_is_longer_is_refused(
    start_server: StartServer,
) -> None:
    limits = {"max_rows_per_request": ROWS, "max_queued_rows_per_tenant": ROWS}
    # A batch holds as much as the window, so that what is cut to the window just fits.
    async with start_server(
        **limits, max_text_bytes=LETTERS, max_batch_tokens=MAX_LETTERS
    ) as server:
        for letters in (MAX_LETTERS - 1, MAX_LETTERS, MAX_LETTERS + 1):
            reply = await embed(server, "a" * letters, "b" * letters)
            assert not reply.errors
            assert list(reply.truncated) == ([0, 1] if letters > MAX_LETTERS else [])
        for length, refused in ((LETTERS - 1, 0), (LETTERS, 0), (LETTERS + 1, 1)):
            reply = await embed(server, "a" * length)
            assert [(e.field, e.limit) for e in reply.errors] == [("text", str(LETTERS))] * refused
        for rows in (ROWS - 1, ROWS):
            assert not (await embed(server, *(f"{i} of {rows}" for i in range(rows)))).errors
        with pytest.raises(InvalidRequest) as caught:
            await embed(server, *map(str, range(ROWS + 1)))
        assert (caught.value.limit, caught.value.value) == (ROWS, ROWS + 1)
        assert not (await embed(server, "still there")).errors
