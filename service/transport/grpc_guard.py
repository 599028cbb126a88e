"""What every gRPC call passes first and last, whatever service answers it.

grpcio reads the message of a unary call before it calls anybody, and says nothing of a message's
size before all of it is in memory. So every method is registered as one that takes a stream: then
nothing but a window of 64 KiB is received before it is asked for, and it is asked for when the
budget has room for the largest message.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, closing
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from service.access.authentication import Authentication
from service.access.caller import NOBODY
from service.config import GRPC_MARGIN_BYTES
from service.errors import InvalidRequest, RequestCancelled, ServiceError
from service.logs import get_logger
from service.requests.calls import Calls
from service.transport.grpc_arrival import Arrival, arrival_of_call, headers_of
from service.transport.grpc_errors import Context, refuse
from service.transport.limits import TransportLimits
from service.transport.open_calls import OpenCalls
from service.transport.peers import PeerDropper
from service.transport.protocols.oip.messages import SERVICE
from service.transport.receiving import Receipt, ReceivingBudget

HEALTH = "/grpc.health.v1.Health/"
PROBE = HEALTH + "Check"
_OIP = f"/{SERVICE}/"
_PROBES = (HEALTH, _OIP + "ServerLive", _OIP + "ServerReady")
"""What says whether the server runs, and can serve, needs no key."""

log = get_logger(__name__)


class _Rpc(NamedTuple):
    """A method as it is registered, and whose room its messages take."""

    method: str
    handler: Any
    budget: ReceivingBudget


Work = Callable[[_Rpc, Context], Awaitable[Any]]


class GrpcGuard:
    """Registers handlers with a server, each behind the bounds of its port.

    Args:
        budget: bounds the messages of all methods but those of health.
        probes: bounds those of health, which get through whatever holds the other.
        calls: say when a request that is still arriving is refused, as the server stops.
        authentication: says who calls, before anything that is sent is read.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        limits: TransportLimits,
        budget: ReceivingBudget,
        probes: ReceivingBudget,
        calls: Calls,
        authentication: Authentication,
    ) -> None:
        self._server = server
        self._authentication = authentication
        self._calls = calls
        self._limits = limits
        self._budget = budget
        self._probes = probes
        self._most = limits.max_message_bytes + GRPC_MARGIN_BYTES
        self._open = OpenCalls(limits.max_calls)
        self._peers = PeerDropper()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Registers handlers, as a server does."""
        self._server.add_generic_rpc_handlers(tuple(_Guarded(self, one) for one in handlers))

    def add_registered_method_handlers(self, *_: object) -> None:
        """Does nothing: generated code registers what it registers as generic handlers, too."""

    def wrap(self, method: str, handler: Any) -> Any:
        """Returns a handler of a method that does the same within the bounds."""
        work = self._stream_replies if handler.response_streaming else self._reply
        budget = self._probes if method.startswith(_PROBES) else self._budget

        async def serve(stream: object, context: Context) -> Any:
            try:
                return await self._answer(work, _Rpc(method, handler, budget), context)
            except grpc.aio.AbortError as aborted:
                # grpcio keeps it with the call, in a cycle: what its frames hold would stay until
                # the garbage collector comes by, the whole message among it.
                aborted.__cause__ = aborted.__context__ = None
                del stream, context
                raise aborted.with_traceback(None)  # noqa: B904  # it is the same

        make: Any = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(serve, response_serializer=handler.response_serializer)

    async def _answer(self, work: Work, rpc: _Rpc, context: Context) -> Any:
        caller = NOBODY
        try:
            handler = rpc.handler
            ended = self._open.begin(
                context.peer(),
                lasting=handler.request_streaming or handler.response_streaming,
                probe=rpc.method == PROBE,
            )
            # When the last of it was read, too.
            context.add_done_callback(ended)  # type: ignore[arg-type]  # stubs
            if not rpc.method.startswith(_PROBES):
                headers = headers_of(context)
                caller = await self._authentication.caller(headers)
                arrival_of_call.set(Arrival(headers, caller))
            return await work(rpc, context)
        except ServiceError as error:
            await refuse(context, error, rpc.method, self._calls, caller)
        finally:
            self._drop_unless_read(context)

    async def _reply(self, rpc: _Rpc, context: Context) -> Any:
        if rpc.handler.request_streaming:
            async with aclosing(self._messages(rpc, context)) as messages:
                return await rpc.handler.stream_unary(messages, context)
        with closing(rpc.budget.open(context.peer())) as receipt:
            request = await self._receive_one(rpc.handler, context, receipt)
            return await rpc.handler.unary_unary(request, context)

    async def _stream_replies(self, rpc: _Rpc, context: Context) -> None:
        if rpc.handler.request_streaming:
            async with aclosing(self._messages(rpc, context)) as messages:
                await self._send(rpc.handler.stream_stream(messages, context), context)
            return
        replies = await self._begin(rpc, context)
        # A handler that writes by itself, with `write`, gives nothing to send.
        await (self._send(replies, context) if hasattr(replies, "__aiter__") else replies)

    async def _begin(self, rpc: _Rpc, context: Context) -> Any:
        """Lets go of the request: a stream may last, and needs little of it."""
        with closing(rpc.budget.open(context.peer())) as receipt:
            request = await self._receive_one(rpc.handler, context, receipt)
            return rpc.handler.unary_stream(request, context)

    async def _messages(self, rpc: _Rpc, context: Context) -> AsyncGenerator[Any, None]:
        begun = False
        while True:
            with closing(rpc.budget.open(context.peer())) as receipt:
                message = await self._receive(rpc.handler, context, receipt)
                if message is grpc.aio.EOF:
                    if begun:
                        receipt.complete()
                    return
                begun = True
                yield message

    async def _receive_one(self, handler: Any, context: Context, receipt: Receipt) -> Any:
        with self._calls.arriving(receipt.refuse):
            message = await self._receive(handler, context, receipt)
        if message is grpc.aio.EOF:
            raise RequestCancelled("the client left before it had sent its message")
        return message

    async def _receive(self, handler: Any, context: Context, receipt: Receipt) -> Any:
        await receipt.take(self._most)
        data = await receipt.wait(context.read)
        if data is grpc.aio.EOF:
            return data
        receipt.complete()
        receipt.give_back(self._most - len(data))
        await self._authenticate_again()
        try:
            read = handler.request_deserializer
            return data if read is None else read(data)
        except DecodeError as error:
            raise InvalidRequest.at(
                "request", "cannot be parsed", value=f"{len(data)} bytes"
            ) from error

    async def _send(self, replies: AsyncGenerator[Any, None], context: Context) -> None:
        async with aclosing(replies):
            async for reply in replies:
                await self.write(context, reply)

    async def write(self, context: Context, reply: Any) -> None:
        """Writes a reply whole, also where the call ends: it could not be ended otherwise.

        Raises:
            RequestCancelled: the client left, or did not read in time.
            Unauthenticated: its key is not good any more.
        """
        await self._authenticate_again()
        writing = asyncio.ensure_future(context.write(reply))
        try:
            read = await self._read_in_time(writing, context)
        except asyncio.CancelledError:
            await self._read_in_time(writing, context)
            raise
        if not read or writing.exception() is not None:
            raise RequestCancelled("the client left") from (writing.exception() if read else None)

    async def _authenticate_again(self) -> None:
        """Refuses what a call sends or is sent once its key is revoked or has expired.

        A call may last, and a message may come long after the call began.
        """
        arrival = arrival_of_call.get(None)
        if arrival is not None:  # calls of health have none
            await self._authentication.caller(arrival.headers, arrival.caller)

    async def _read_in_time(self, writing: asyncio.Future[None], context: Context) -> bool:
        await asyncio.wait([writing], timeout=self._limits.body_seconds)
        if not writing.done():
            writing.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            self._drop(context.peer())  # a status would wait behind the reply
        return writing.done()

    def _drop_unless_read(self, context: Context) -> None:
        """Drops the connection if what is sent last is not read; grpcio would keep it for ever."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(
            self._limits.body_seconds, self._drop, context.peer(), context=contextvars.Context()
        )
        context.add_done_callback(lambda _: timer.cancel())  # type: ignore[arg-type]  # stubs

    def _drop(self, peer: str) -> None:
        if self._peers.drop(peer):
            log.info(
                "reply not read: connection closed",
                peer=peer,
                body_timeout_seconds=self._limits.body_seconds,
            )


class _Guarded(grpc.GenericRpcHandler):
    def __init__(self, guard: GrpcGuard, handlers: grpc.GenericRpcHandler) -> None:
        self._guard = guard
        self._handlers = handlers
        self._wrapped: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Returns the guarded handler of a method, if there is one."""
        method = handler_call_details.method
        if method in self._wrapped:
            return self._wrapped[method]
        handler = self._handlers.service(handler_call_details)
        if handler is None:
            return None
        wrapped = self._guard.wrap(method, handler)
        self._wrapped[method] = wrapped
        return wrapped
