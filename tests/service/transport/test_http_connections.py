"""How long a client may make the server wait over HTTP, and how many clients there may be."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.transport import http_connections, receiving
from service.transport.http_server import serve_asgi
from service.transport.limits import TransportLimits
from service.transport.receiving import ReceivingBudget
from service.transport.rest_guard import RestGuard
from tests.service.transport.open_backend import open_backend
from tests.service.transport.port_limits import HANGS_SECONDS, LIMITS

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Opened]]

GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = (
    b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: 100000\r\n\r\n"
)
SOON = 0.05


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    await PlainTextResponse("hello")(scope, receive, send)


@asynccontextmanager
async def serving(limits: TransportLimits, app: ASGIApp = hello) -> AsyncIterator[Connect]:
    """A server of an application; gives what connects to it."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = await serve_asgi(app, listener, limits)
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> Opened:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append(writer)
        return reader, writer

    try:
        async with asyncio.timeout(HANGS_SECONDS):
            yield connect
    finally:
        server.close()
        for writer in opened:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes."""
    received = b""
    try:
        while part := await reader.read(65_536):
            received += part
    except ConnectionResetError:
        pass
    return received


async def answer(opened: Opened) -> bytes:
    """The end of the answer to a request that is sent now."""
    reader, writer = opened
    writer.write(GET)
    return await reader.readuntil(b"hello")


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nhost: localhost\r\nx: "])
async def test_connection_without_the_headers_of_a_request_is_closed(sent: bytes) -> None:
    async with serving(replace(LIMITS, head_seconds=SOON)) as connect:
        reader, writer = await connect()
        writer.write(sent)
        assert await everything(reader) == b""


async def test_headers_that_come_a_byte_at_a_time_do_not_keep_the_connection() -> None:
    async with serving(replace(LIMITS, head_seconds=SOON)) as connect:
        reader, writer = await connect()
        ended = asyncio.create_task(everything(reader))
        while not ended.done():
            writer.write(b"x")
            await asyncio.wait([ended], timeout=SOON / 10)
        assert await ended == b""


async def test_later_request_has_the_same_time_for_its_headers() -> None:
    async with serving(replace(LIMITS, head_seconds=SOON)) as connect:
        opened = await connect()
        await answer(opened)
        opened[1].write(b"GET / HTTP/1.1\r\nx: ")
        assert await everything(opened[0]) == b""


async def test_connection_without_a_next_request_is_closed() -> None:
    async with serving(replace(LIMITS, idle_seconds=SOON)) as connect:
        opened = await connect()
        assert (await answer(opened)).startswith(b"HTTP/1.1 200")
        assert await everything(opened[0]) == b""


async def test_body_that_stalls_is_answered_and_then_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_connections, "DISCARD_SECONDS", SOON)
    monkeypatch.setattr(receiving, "PROMPT_SECONDS", 0.0)
    app = RestGuard(hello, 10**6, ReceivingBudget(10**6, SOON), open_backend(), loopback_only=True)
    async with serving(replace(LIMITS, body_seconds=0.5), app) as connect:
        reader, writer = await connect()
        writer.write(POST + b" " * 1000)
        received = await everything(reader)
    assert received.startswith(b"HTTP/1.1 504")
    assert b"REQUEST_TIMEOUT" in received
    assert b"body_timeout_seconds" in received


async def test_reply_that_is_not_read_is_dropped() -> None:
    async def much(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("x" * 50_000_000)(scope, receive, send)

    async with serving(replace(LIMITS, body_seconds=SOON), much) as connect:
        with socket.create_connection((await connect())[1].get_extra_info("peername")) as client:
            client.sendall(GET)
            poll = select.poll()
            poll.register(client, 0)  # reads nothing, and hears of a reset
            assert await asyncio.to_thread(poll.poll, 60_000)


async def test_pipelined_requests_are_answered_in_order_and_not_taken_for_slow() -> None:
    async with serving(LIMITS) as connect:
        reader, writer = await connect()
        writer.write(GET * 20)
        for _ in range(20):
            assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")


async def test_newcomer_takes_the_place_of_whom_the_server_has_waited_for_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_connections, "PATIENCE_SECONDS", 0.0)
    async with serving(replace(LIMITS, max_connections=3)) as connect:
        active = await connect()
        await answer(active)
        idle = [await connect(), await connect()]
        await answer(active)  # so that it has been waited for less long
        assert (await answer(await connect())).startswith(b"HTTP/1.1 200")
        assert await everything(idle[0][0]) == b""
        assert (await answer(active)).startswith(b"HTTP/1.1 200")


async def test_newcomer_is_told_to_come_back_while_all_others_are_at_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_connections, "PATIENCE_SECONDS", 0.0)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await go_on.wait()
        await hello(scope, receive, send)

    async with serving(replace(LIMITS, max_connections=1), work) as connect:
        task = asyncio.create_task(answer(await connect()))
        await begun.wait()
        refused = await everything((await connect())[0])
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in refused
        go_on.set()
        assert (await task).startswith(b"HTTP/1.1 200")
        assert (await answer(await connect())).startswith(b"HTTP/1.1 200"), "it is free again"
