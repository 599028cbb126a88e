"""A server that is ready says in the body of `/readyz` what is wrong all the same."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.transport.ready_detail import ReadyDetail


async def get(path: str, status: int, words: str) -> tuple[int, str]:
    async def answer(_: Request) -> PlainTextResponse:
        return PlainTextResponse("as it was", status)

    app = ReadyDetail(Starlette(routes=[Route(path, answer)]), lambda: words)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as client:
        reply = await client.get(path)
    return reply.status_code, reply.text


@pytest.mark.parametrize("words", ["", "the disk is full"])
async def test_ready_server_says_what_is_wrong(words: str) -> None:
    assert await get("/readyz", 200, words) == (200, f"{words}\n")


async def test_server_that_is_not_ready_answers_as_before() -> None:
    assert await get("/readyz", 503, "the disk is full") == (503, "as it was")


async def test_other_paths_answer_as_before() -> None:
    assert await get("/livez", 200, "the disk is full") == (200, "as it was")
