"""Bodies packed with gzip, and bodies that find no room."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route

from service.transport import receiving
from service.transport.packed_bodies import Unpacker
from service.transport.receiving import ReceivingBudget
from service.transport.rest_guard import (
    RestGuard,
)
from tests.service.transport.guarded import (
    LIMIT,
    echo,
)
from tests.service.transport.open_backend import open_backend

PACKED = {"content-encoding": "gzip"}


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "identity, gzip"])
async def test_packed_body_is_unpacked(client: httpx.AsyncClient, coding: str) -> None:
    packed = gzip.compress(b"a" * 300) + gzip.compress(b"b" * 400)  # of two members
    answer = await client.post("/", content=packed, headers={"content-encoding": coding})
    assert answer.json()["bytes"] == 700


async def test_body_packed_with_deflate_is_unpacked_and_nothing_may_follow_it(
    client: httpx.AsyncClient,
) -> None:
    headers, packed = {"content-encoding": "deflate"}, zlib.compress(b"a" * 300)
    assert (await client.post("/", content=packed, headers=headers)).json()["bytes"] == 300
    for damaged in (packed + b"x", packed[:-1], b"plain"):
        answer = await client.post("/", content=damaged, headers=headers)
        assert (answer.status_code, answer.json()["limit"]) == (400, "deflate")


async def test_packed_body_in_pieces_is_unpacked(client: httpx.AsyncClient) -> None:
    packed = gzip.compress(bytes(range(256)) * 3)

    async def pieces() -> AsyncIterator[bytes]:
        for byte in packed:
            yield bytes([byte])

    answer = await client.post("/", content=pieces(), headers={"content-encoding": "gzip"})
    assert answer.json()["bytes"] == 768


@pytest.mark.parametrize("coding", ["identity", ""])
async def test_body_that_says_that_it_is_not_packed_passes(
    client: httpx.AsyncClient, coding: str
) -> None:
    answer = await client.post("/", content=b"{}", headers={"content-encoding": coding})
    assert answer.json()["bytes"] == 2


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip, br", "compress"])
async def test_other_coding_is_refused_with_what_is_taken(
    client: httpx.AsyncClient, coding: str
) -> None:
    answer = await client.post("/", content=b"x", headers={"content-encoding": coding})
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip, deflate, identity"
    problem = answer.json()
    assert (problem["field"], problem["value"]) == ("content-encoding", coding)


def no_gzip() -> list[bytes]:
    data = gzip.compress(b"x" * 500)
    return [b"plain text", data[:-1], data[:20], data[:-5] + b"\0" + data[-4:], data + b"more"]


@pytest.mark.parametrize("content", no_gzip(), ids=range(5))
async def test_body_that_is_no_whole_gzip_is_refused_in_our_words(
    client: httpx.AsyncClient, content: bytes
) -> None:
    answer = await client.post("/", content=content, headers={"content-encoding": "gzip"})
    assert answer.status_code == 400
    problem = answer.json()
    assert (problem["field"], problem["limit"]) == ("body", "gzip")
    assert "zlib" not in answer.text
    assert "Error -" not in answer.text


async def test_body_that_unpacks_to_more_than_the_limit_is_refused_there(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.post("/", content=gzip.compress(b"x" * LIMIT), headers=PACKED)).json()[
        "bytes"
    ] == LIMIT
    bomb = gzip.compress(bytes(200 * LIMIT))
    assert len(bomb) < LIMIT
    answer = await client.post("/", content=bomb, headers=PACKED)
    assert answer.status_code == 413
    problem = answer.json()
    assert (problem["field"], problem["limit"]) == ("body", str(LIMIT))
    assert problem["value"] == str(LIMIT + 1), "no more was unpacked than shows it"


async def test_packed_bytes_that_unpack_to_nothing_are_counted(client: httpx.AsyncClient) -> None:
    async def members() -> AsyncIterator[bytes]:
        for _ in range(LIMIT):
            yield gzip.compress(b"")

    answer = await client.post("/", content=members(), headers=PACKED)
    assert answer.status_code == 413


KIB = 1024

SIZE = 400 * KIB


async def post(budget: ReceivingBudget, content: bytes, headers: dict[str, str]) -> httpx.Response:
    """Sends a body in pieces, by a guard of this budget."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), KIB):
            yield content[start : start + KIB]

    app = RestGuard(
        Starlette(routes=[Route("/", echo, methods=["POST"])]),
        10**6,
        budget,
        open_backend(),
        loopback_only=True,
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.post("/", content=pieces(), headers=headers)


@pytest.mark.parametrize("packed", [False, True])
async def test_body_that_finds_no_room_is_refused_with_a_hint_and_small_ones_pass(
    packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 0.0)
    budget = ReceivingBudget(SIZE, 60)
    holder = budget.open()
    await holder.take(SIZE - 100 * KIB)
    body = b"x" * SIZE
    content, headers = (gzip.compress(body), PACKED) if packed else (body, {})
    refused = await post(budget, content, headers)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    problem = refused.json()
    assert (problem["code"], problem["reason"]) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
    assert (problem["field"], problem["limit"]) == ("request", str(SIZE))
    assert budget.held == SIZE - 100 * KIB, "what had arrived is given back"
    small = await post(budget, b"x" * 60 * KIB, {})
    assert small.json()["bytes"] == 60 * KIB
    holder.close()
    assert budget.held == 0
    wide = ReceivingBudget(2 * SIZE, 60)
    assert (await post(wide, content, headers)).json()["bytes"] == SIZE
    assert wide.held == 0


@given(st.binary(max_size=300), st.integers(1, 50), st.integers(1, 7))
def test_gzip_unpacks_to_the_same_whatever_the_pieces(data: bytes, most: int, repeats: int) -> None:
    whole = data * repeats * 3
    unpacker, unpacked = Unpacker(), b""
    rest: bytes | None = gzip.compress(whole) + gzip.compress(data)
    while rest is not None:
        part, rest = unpacker.unpack(rest, most)
        assert len(part) <= most
        unpacked += part
    unpacker.end()
    assert unpacked == whole + data
