"""A call that lasts ends with its key: what began before the key was revoked goes no further."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import pytest

from service.access.authentication import NoKeys, unauthenticated
from service.access.caller import ANYONE, Caller
from service.requests.call import Call
from service.transport.receiving import ReceivingBudget
from service.transport.rest import rest_app
from service.transport.rest_guard import RestGuard
from tests.service.transport.grpc_serving import get_head, serving
from tests.service.transport.open_backend import open_backend
from trunkline.v1 import heads_pb2

SERVICE = "/trunkline.v1.HeadService/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
HEALTH = "/grpc.health.v1.Health/Watch"


class Revocable(NoKeys):
    """Takes every call until its key is revoked, as it were."""

    required = True

    def __init__(self) -> None:
        self.revoked = False
        self.asked = asyncio.Event()

    async def caller(
        self, shown: Iterable[tuple[str, str]], before: Caller | None = None
    ) -> Caller:
        self.asked.set()
        if self.revoked:
            raise unauthenticated()
        return ANYONE


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel


async def code_of(call: Any) -> grpc.StatusCode:
    """How a call ends; nothing more may come before that."""
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await call.read()
    code: grpc.StatusCode = ended.value.code()
    return code


async def test_upload_ends_with_its_key() -> None:
    authentication = Revocable()
    read = asyncio.Event()

    async def handle(messages: AsyncIterator[Any], _: Call) -> Any:
        async for _message in messages:
            read.set()
        return heads_pb2.AddExamplesResponse()

    async with (
        serving(handle, authentication=authentication) as address,
        connected(address) as channel,
    ):
        call = channel.stream_stream(SERVICE + "AddExamples")()
        await call.write(b"")
        await read.wait()
        authentication.revoked = True
        await call.write(b"")
        assert await code_of(call) is grpc.StatusCode.UNAUTHENTICATED


async def test_watch_ends_with_its_key() -> None:
    authentication = Revocable()
    more = asyncio.Event()

    async def handle(request: Any, call: Call) -> AsyncIterator[Any]:
        yield heads_pb2.TrainHeadResponse()
        await more.wait()
        yield heads_pb2.TrainHeadResponse()

    async with (
        serving(handle, authentication=authentication) as address,
        connected(address) as channel,
    ):
        call = channel.unary_stream(SERVICE + "TrainHead")(b"")
        assert await call.read() == b""
        authentication.revoked = True
        more.set()
        assert await code_of(call) is grpc.StatusCode.UNAUTHENTICATED


async def test_reflection_ends_with_its_key_and_health_has_none() -> None:
    authentication = Revocable()
    async with (
        serving(get_head, authentication=authentication) as address,
        connected(address) as channel,
    ):
        call = channel.stream_stream(REFLECTION)()
        await call.write(b"\x3a\x00")  # list_services
        assert await call.read()
        authentication.revoked = True
        await call.write(b"\x3a\x00")
        assert await code_of(call) is grpc.StatusCode.UNAUTHENTICATED
        watch = channel.unary_stream(HEALTH)(b"")
        assert await watch.read()


async def test_message_that_comes_late_is_not_taken_from_a_key_that_is_revoked() -> None:
    authentication = Revocable()
    async with (
        serving(get_head, authentication=authentication) as address,
        connected(address) as channel,
    ):
        call = channel.stream_unary(SERVICE + "GetHead")()
        await authentication.asked.wait()
        authentication.revoked = True
        await call.write(b"")
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_body_that_comes_late_is_not_taken_from_a_key_that_is_revoked() -> None:
    authentication = Revocable()
    backend = open_backend({"CreateHead": get_head}, authentication)

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        authentication.revoked = True
        yield b"}"

    app = RestGuard(
        rest_app(backend), 1000, ReceivingBudget(10**6, 60), backend, loopback_only=True
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/v1/tenants/acme/heads", content=body())
    assert answer.status_code == 401
