"""The transport of the asynchronous client: calls, streams and flows over grpc.aio."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Self, TypeVar

import grpc

from trunkline import calls
from trunkline.calls import Call, Page, Pause, SendExamples, WatchTraining
from trunkline.connection import channel
from trunkline.connection.addresses import DEFAULT_ADDRESS, check_address
from trunkline.connection.retrying import Attempts
from trunkline.connection.status import error_from_rpc
from trunkline.errors import DeadlineExceeded, Internal, InvalidArgument, Unavailable
from trunkline.flows.rows import Flow, Step

T = TypeVar("T")


class AsyncTransport:
    """A connection to a server, and how steps are run over it."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        timeout: float = channel.DEFAULT_TIMEOUT,
    ) -> None:
        self.address = check_address(address)
        self.timeout = channel.check_timeout(timeout)
        self._metadata = channel.call_metadata(token)
        self._channel = grpc.aio.insecure_channel(address, options=channel.channel_options(address))
        self._stubs = {stub: stub(self._channel) for stub in calls.STUBS}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        await self._channel.close()

    async def ready(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Returns whether the server (or one gRPC service) answers and serves; never waits."""
        call = calls.ready(service)
        try:
            return await self._once(call, self._seconds(timeout))
        except (Unavailable, DeadlineExceeded, InvalidArgument):
            return False

    async def _run(self, flow: Flow[T], timeout: float | None, *, blocks: bool = False) -> T:
        """Runs a flow to its end; one that `blocks` (it reads files) is run in a thread."""
        state = await self._advance(partial(next, flow), blocks)
        while not isinstance(state, _Done):
            try:
                outcome = await self._step(state, timeout)
            except Exception as error:
                state = await self._advance(partial(flow.throw, error), blocks)
            else:
                state = await self._advance(partial(flow.send, outcome), blocks)
        result: T = state.result
        return result

    async def _advance(self, resume: Callable[[], Step], blocks: bool) -> "Step | _Done[Any]":
        return await asyncio.to_thread(_resumed, resume) if blocks else _resumed(resume)

    async def _step(self, step: Step, timeout: float | None) -> Any:
        match step:
            case Call():
                return await self._call(step, timeout)
            case SendExamples():
                return await self._send(step, timeout)
            case WatchTraining():
                return await self._watch(step)
            case Pause():
                return await asyncio.sleep(step.seconds)

    async def _call(self, call: Call[T], timeout: float | None) -> T:
        seconds = self._seconds(timeout, at_least=call.at_least)
        if not call.idempotent:
            # It waits for a connection without a word; this says what it waits for.
            await self._attempt(calls.ready(""), Attempts(seconds, idempotent=True))
        return await self._attempt(call, Attempts(seconds, idempotent=call.idempotent))

    async def _attempt(self, call: Call[T], attempts: Attempts) -> T:
        while True:
            try:
                return await self._once(call, attempts.remaining)
            except (Unavailable, DeadlineExceeded) as error:
                await asyncio.sleep(attempts.pause(error))

    async def _once(self, call: Call[T], timeout: float) -> T:
        method = getattr(self._stubs[call.stub], call.rpc)
        try:
            reply = await method(
                call.request,
                timeout=timeout,
                metadata=self._metadata,
                # One that may be sent only once is not sent before there is a connection.
                wait_for_ready=not call.idempotent,
            )
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.address) from error
        return call.read(reply)

    async def _send(self, step: SendExamples[T], timeout: float | None) -> T:
        method = getattr(self._stubs[step.stub], step.rpc)
        seconds = self._seconds(timeout) * step.count + step.work
        stream = method(timeout=seconds, metadata=self._metadata)
        try:
            written = await self._write(stream, step)
            try:
                return step.read(await stream)
            except grpc.RpcError as cause:
                error = error_from_rpc(cause, self.address)
                if not written and isinstance(error, Internal) and not error.request_id:
                    # grpc.aio's own word for a stream that ended under a write.
                    raise Unavailable("the stream broke while it was written") from cause
                raise error from cause
        finally:
            stream.cancel()

    async def _write(self, stream: Any, step: SendExamples[Any]) -> bool:
        """Writes all messages; False if the stream ended before them: its reply says how."""
        while (message := await asyncio.to_thread(next, step.messages, None)) is not None:
            try:
                await stream.write(message)
            except (asyncio.InvalidStateError, grpc.RpcError):
                return False
            step.sent()
        await stream.done_writing()
        return True

    async def _watch(self, step: WatchTraining) -> None:
        method = getattr(self._stubs[step.stub], step.rpc)
        stream = method(step.request, timeout=step.timeout, metadata=self._metadata)
        try:
            async for reply in stream:
                step.seen(reply)
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.address) from error
        finally:
            stream.cancel()

    def _seconds(self, timeout: float | None, *, at_least: float = 0.0) -> float:
        if timeout is None:
            return max(self.timeout, at_least)
        return channel.check_timeout(timeout)

    async def _pages(
        self, page: Callable[[str], Call[Page[T]]], timeout: float | None
    ) -> AsyncIterator[T]:
        token = ""
        while True:
            part: Page[T] = await self._call(page(token), timeout)
            for item in part.items:
                yield item
            if not (token := part.next_token):
                return


@dataclass(frozen=True)
class _Done(Generic[T]):
    """A flow's result: StopIteration itself can pass through no coroutine and no thread."""

    result: T


def _resumed(resume: Callable[[], Step]) -> Step | _Done[Any]:
    try:
        return resume()
    except StopIteration as end:
        return _Done(end.value)
