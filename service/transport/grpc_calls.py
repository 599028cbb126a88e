"""The application's handlers as handlers of gRPC's calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from service.addresses import host_of_peer, is_loopback
from service.errors import InvalidRequest
from service.requests.call import Call, new_request_id
from service.requests.calls import Calls, Handler
from service.requests.names import resource_of
from service.requests.reply_size import REPLY_BYTES_KEY, read_reply_bytes
from service.transport.forwarding import FORWARDED
from service.transport.grpc_arrival import arrival_of_call
from service.transport.grpc_errors import TRANSPORT, Context, abort
from service.transport.limits import TransportLimits
from service.transport.message_parts import check_message
from service.transport.methods import Method

REST_SECONDS = 0.5
"""Time for the end of an upload that is refused to arrive."""
M = TypeVar("M", bound=Message)


@dataclass(eq=False)
class Translator:
    """Wraps the application's handlers as gRPC handlers.

    Messages are parsed and packed in here, so that a malformed one is answered as any error is.
    """

    _calls: Calls
    _limits: TransportLimits
    _write: Callable[[Context, bytes], Awaitable[None]]

    def rpc(self, method: Method, handler: Handler) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Returns the gRPC handler of one method."""
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(self._stream_unary(method, handler))
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._unary_stream(method, handler))
        return grpc.unary_unary_rpc_method_handler(self._unary_unary(method, handler))

    def _unary_unary(
        self, method: Method, handler: Handler
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def serve(data: bytes, context: Context) -> bytes:
            async with self.call(method, context) as call:
                request = self.parse(method.request, data)
                return (await self.ask(method, handler, request, call)).SerializeToString()

        return serve

    async def ask(self, method: Method, handler: Handler, request: Message, call: Call) -> Message:
        """Runs a unary RPC if the caller may; counts its failed rows."""
        call.name(request)
        method.rule.check(request, call.caller)
        reply: Message = await handler(request, call)
        self._calls.record_reply(call, reply)
        return reply

    def _stream_unary(
        self, method: Method, handler: Handler
    ) -> Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]:
        async def serve(stream: AsyncIterator[bytes], context: Context) -> bytes:
            if self._calls.draining:
                await self._calls.read_up(stream)
            async with self.call(method, context, stream) as call:
                messages = self._messages(method, stream, call)
                return self._packed(await handler(messages, call), call)

        return serve

    def _unary_stream(
        self, method: Method, handler: Handler
    ) -> Callable[[bytes, Context], Awaitable[None]]:
        # Written here, as a generator would not be told where the call ends while gRPC sends.
        async def serve(data: bytes, context: Context) -> None:
            async with self.call(method, context, watch=True) as call:
                request = _fields_of(self.parse(method.request, data))
                del data  # the stream may last
                call.name(request)
                method.rule.check(request, call.caller)
                async with aclosing(handler(request, call)) as replies:
                    async for reply in replies:
                        await self._calls.trail.acknowledge(call)
                        await self._write(context, reply.SerializeToString())

        return serve

    async def _messages(
        self, method: Method, stream: AsyncIterator[bytes], call: Call
    ) -> AsyncIterator[Message]:
        async for data in self._calls.upload(stream):
            message = self.parse(method.request, data)
            call.resource = call.resource or resource_of(message, method.rule)
            method.rule.check(message, call.caller)
            yield message
        method.rule.check(None, call.caller)  # a stream without a message names nothing

    @asynccontextmanager
    async def call(
        self,
        method: Method,
        context: Context,
        uploaded: AsyncIterator[bytes] | None = None,
        *,
        watch: bool = False,
    ) -> AsyncIterator[Call]:
        """Wraps the handling of one call; what is raised in here is its answer."""
        request_id, (headers, caller) = new_request_id(), arrival_of_call.get()
        peer, shown = context.peer(), dict(headers)
        try:
            async with self._calls.handle(
                *(method.name, TRANSPORT, None),
                request_id=request_id,
                timeout=context.time_remaining(),
                upload=uploaded is not None,
                watch=watch,
                local=is_local(peer) and FORWARDED.isdisjoint(shown),
                reply_bytes=read_reply_bytes(shown.get(REPLY_BYTES_KEY)),
                caller=caller,
                rule=method.rule,
                peer=host_of_peer(peer),
            ) as call:
                if not method.rule.resource:
                    method.rule.check(None, caller)  # before anything is parsed
                yield call
        except Exception as error:
            if uploaded is not None:
                await _read_rest(uploaded)
            await abort(context, request_id, error)
        context.set_trailing_metadata((("x-request-id", request_id),))

    def _packed(self, reply: Message, call: Call) -> bytes:
        self._calls.record_reply(call, reply)
        return reply.SerializeToString()

    def parse(self, kind: type[M], data: bytes) -> M:
        """Reads a message.

        Raises:
            InvalidRequest: it is none of its kind, too large, or has too many parts.
        """
        most = self._limits.max_message_bytes
        if len(data) > most:
            raise InvalidRequest.at(
                "request", "at most {limit} bytes, has {value}", most, len(data)
            )
        check_message(data, kind.DESCRIPTOR, self._limits.max_parts)
        try:
            return kind.FromString(data)
        except DecodeError as error:
            raise InvalidRequest(
                f"request: must be a {kind.DESCRIPTOR.full_name} with strings in UTF-8, "
                "cannot be parsed; a text that may be no UTF-8 goes into text_utf8",
                field="request",
                limit=kind.DESCRIPTOR.full_name,
                value=f"{len(data)} bytes",
            ) from error


def _fields_of(request: Message) -> Message:
    """Returns a message that holds nothing but its fields, whatever it was sent with them."""
    request.DiscardUnknownFields()
    kept = type(request)()
    kept.CopyFrom(request)
    return kept


def is_local(peer: str) -> bool:
    """Returns whether a peer, as gRPC names it (``ipv4:127.0.0.1:50051``), is on this machine."""
    return peer.startswith("unix:") or is_loopback(host_of_peer(peer))


async def _read_rest(stream: AsyncIterator[bytes]) -> None:
    """Reads what a client still sends, for a moment.

    gRPC breaks off a stream that it answers amid that, and a proxy may lose the answer by it:
    through HAProxy a refusal with a hint became INTERNAL, after which nobody comes again.
    """
    with suppress(Exception):  # the client may have left, and the time be up
        async with asyncio.timeout(REST_SECONDS):
            async for _ in stream:
                pass
