"""What a call held is free once it is answered, whether or not a garbage collector comes by."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from typing import Any

import grpc
import pytest

from service.errors import BackboneFailed, InvalidRequest
from service.requests.call import Call
from service.requests.calls import Calls
from service.transport.receiving import Receipt, ReceivingBudget
from tests.e2e.transports import METHODS
from tests.service.transport.counted import Counted, grpc_server
from tests.service.transport.port_limits import HANGS_SECONDS, MIB
from tests.service.waiting import Changes
from trunkline.v1 import heads_pb2

MESSAGES = {
    "valid": b"",
    "malformed": b"\xff" * 1000,
    "too large": bytes(1_000_001),
}


class Watched(ReceivingBudget):
    """Lets a test wait until receipts are gone: a frame that has one has the message, too."""

    def __init__(self) -> None:
        super().__init__(100 * MIB, 60)
        self.opened = self._gone = 0
        self._changes = Changes()

    def open(self, connection: Hashable = None) -> Receipt:
        receipt = super().open(connection)
        self.opened += 1
        weakref.finalize(receipt, self._count)
        return receipt

    def beside(self, most: int, what: str) -> ReceivingBudget:
        return self

    async def until_all_are_gone(self) -> None:
        async with asyncio.timeout(HANGS_SECONDS):
            await self._changes.until(lambda: self._gone == self.opened)

    def _count(self) -> None:
        self._gone += 1
        self._changes.notify()


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def refuse(request: Any, call: Call) -> Any:
    raise InvalidRequest("name: must be a name")


async def fail(request: Any, call: Call) -> Any:
    try:
        raise RuntimeError("deep inside")
    except RuntimeError as cause:
        error = BackboneFailed("forward pass failed")  # held by its own frame, as errors often are
        raise error from cause


async def fail_unforeseen(request: Any, call: Call) -> Any:
    raise ValueError("unforeseen")


async def expire(request: Any, call: Call) -> Any:
    await asyncio.Event().wait()


async def refuse_within(messages: AsyncIterator[Any], call: Call) -> Any:
    async for message in messages:
        raise InvalidRequest(f"examples: none in {message}")


async def refuse_in_stream(request: Any, call: Call) -> AsyncIterator[Any]:
    raise InvalidRequest("name: must be a name")
    yield


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    ("path", "handler", "message"),
    [
        (METHODS["GetHead"].path, refuse, "valid"),
        (METHODS["GetHead"].path, refuse, "malformed"),
        (METHODS["GetHead"].path, refuse, "too large"),
        (METHODS["GetHead"].path, fail, "valid"),
        (METHODS["GetHead"].path, fail_unforeseen, "valid"),
        (METHODS["GetHead"].path, expire, "valid"),
        (METHODS["TrainHead"].path, refuse_in_stream, "valid"),
        (METHODS["AddExamples"].path, refuse_within, "valid"),
        ("/grpc.health.v1.Health/Check", refuse, "malformed"),
    ],
)
async def test_refused_call_keeps_nothing_of_its_message(
    path: str, handler: Callable[..., Any], message: str
) -> None:
    budget = Watched()
    async with (
        grpc_server(handler, Calls(Counted(), 0.05), budget=budget) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        make: Any = channel.unary_unary(path)
        with pytest.raises(grpc.RpcError):
            await make(MESSAGES[message])
        await budget.until_all_are_gone()
    assert budget.opened


@pytest.mark.usefixtures("no_collector")
async def test_call_that_was_left_keeps_nothing_of_its_message() -> None:
    budget, begun = Watched(), asyncio.Event()

    async def wait(request: Any, call: Call) -> Any:
        begun.set()
        await asyncio.Event().wait()

    async with (
        grpc_server(wait, Calls(Counted(), 60), budget=budget) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        make: Any = channel.unary_unary(METHODS["GetHead"].path)
        call = make(b"")
        await begun.wait()
        call.cancel()
        await budget.until_all_are_gone()
    assert budget.opened == 1


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("path", [METHODS["TrainHead"].path, "/grpc.health.v1.Health/Watch"])
async def test_stream_of_replies_keeps_nothing_of_its_message_while_it_lasts(path: str) -> None:
    budget = Watched()
    unknown = b"\x9a\x06" + b"\x80\x80\x20" + bytes(2**19)  # field 99 of half a MiB
    sizes: list[int] = []

    async def watch(request: Any, call: Call) -> AsyncIterator[Any]:
        sizes.append(request.ByteSize())
        yield heads_pb2.TrainHeadResponse()
        await asyncio.Event().wait()

    async with (
        grpc_server(watch, Calls(Counted(), 60), budget=budget) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        make: Any = channel.unary_stream(path)
        call = make(unknown)
        assert await call.read() is not grpc.aio.EOF
        await budget.until_all_are_gone()
        assert budget.held == 0
        assert not any(sizes)
        call.cancel()
