"""The gRPC transport: every method of the proto files, health, and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from service.addresses import is_loopback
from service.config import GRPC_MARGIN_BYTES
from service.errors import (
    InvalidRequest,
    ServiceError,
    StartupError,
    Unavailable,
    UnknownMethod,
    problem_of,
)
from service.logs import get_logger
from service.requests.calls import Call, Calls, Handler, new_request_id, tenant_of
from service.requests.reply_size import REPLY_BYTES_KEY, read_reply_bytes
from service.transport.grpc_guard import GrpcGuard
from service.transport.grpc_health import Health
from service.transport.limits import TransportLimits
from service.transport.methods import Method, methods_of
from service.transport.readiness import Readiness
from service.transport.receiving import ReceivingBudget

log = get_logger(__name__)

Context = grpc.aio.ServicerContext[bytes, bytes]

ERROR_DOMAIN = "trunkline"
TRANSPORT = "grpc"
MAX_STREAMS = 1024
"""Calls open at once on one connection; grpcio's clients wait before they open more."""
QUIET_SECONDS = 0.1
"""Without a call, after which none is on its way."""
HOLD_SECONDS = 0.4
"""For that at most."""
GOAWAY_SECONDS = 0.2
"""For clients to hear that they must not send any more."""
FLUSH_SECONDS = 0.25
"""For the last replies to leave."""
KEEPALIVE = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)
"""A client that is gone or hangs is dropped after half a minute. The last is the least time between
two pings of a client; gRPC closes the connection of one that sends more."""


class GrpcServer:
    """A gRPC server for these services.

    Args:
        address: ``host:port`` or ``unix:PATH``; port 0 takes a free one.

    Attributes:
        serving: set when health first says so.

    Raises:
        StartupError: something else listens there.
    """

    def __init__(
        self,
        address: str,
        services: Sequence[ServiceDescriptor],
        handlers: Mapping[str, Handler],
        calls: Calls,
        readiness: Readiness,
        limits: TransportLimits,
        budget: ReceivingBudget,
    ) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # else a second server shares the port in silence
                # Somewhat above our own limit, whose error names field and value.
                ("grpc.max_receive_message_length", limits.max_message_bytes + GRPC_MARGIN_BYTES),
                ("grpc.max_allowed_incoming_connections", limits.max_connections),
                ("grpc.max_concurrent_streams", min(MAX_STREAMS, limits.max_calls)),
                ("grpc.server_handshake_timeout_ms", int(limits.head_seconds * 1000)),
                ("grpc.max_connection_idle_ms", int(limits.idle_seconds * 1000)),
                # The window of a stream that nobody reads stays at 64 KiB.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.max_send_message_length", -1),
                *KEEPALIVE,
            ]
        )
        self._calls = calls
        self._names = [service.full_name for service in services]
        self._health = Health(self._names, calls, _refuse)
        guard = GrpcGuard(self._server, limits, budget, _refuse)
        translator = _Translator(calls, limits.max_message_bytes, guard.write)
        self._add_services(guard, services, handlers, translator)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise StartupError(f"gRPC cannot listen on {address}: {error}") from error
        self._readiness = readiness
        self.serving = asyncio.Event()

    async def start(self) -> None:
        """Begins to serve; health follows the application's readiness."""
        await self._server.start()
        self._readiness.listen(self._set_ready)

    def _set_ready(self, ready: bool) -> None:
        self._health.set(ready)
        if ready:
            self.serving.set()

    async def close(self) -> None:
        """Ends what is left, once the application has finished its requests.

        gRPC ends calls that reach a closing server with CANCELLED. So calls that come now wait
        until clients know that they must not send any more; only then are they refused.
        """
        self._health.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(HOLD_SECONDS):
                await self._calls.hold(QUIET_SECONDS)
        stopping = asyncio.create_task(self._server.stop(GOAWAY_SECONDS + FLUSH_SECONDS))
        await asyncio.wait([stopping], timeout=GOAWAY_SECONDS)
        self._calls.release()
        await stopping

    def _add_services(
        self,
        guard: GrpcGuard,
        services: Sequence[ServiceDescriptor],
        handlers: Mapping[str, Handler],
        translator: _Translator,
    ) -> None:
        for service in services:
            guard.add_generic_rpc_handlers(
                (
                    grpc.method_handlers_generic_handler(
                        service.full_name,
                        {
                            method.name: translator.rpc(method, handlers[method.name])
                            for method in methods_of(service)
                        },
                    ),
                )
            )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, guard)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
            _Reflection(self._calls, (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)),
            guard,
        )
        # These read nothing.
        self._server.add_generic_rpc_handlers((_UnknownMethods(),))


class _Translator:
    """Wraps the application's handlers as gRPC handlers.

    Messages are parsed and packed in here, so that a malformed one is answered as any error is.
    """

    def __init__(
        self,
        calls: Calls,
        max_message_bytes: int,
        write: Callable[[Context, bytes], Awaitable[None]],
    ) -> None:
        self._calls = calls
        self._write = write
        self._max_message_bytes = max_message_bytes

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
            async def run(call: Call) -> Message:
                request = self._parse(method, data)
                call.tenant = tenant_of(request)
                reply: Message = await handler(request, call)
                return reply

            return await self._reply(method, context, run)

        return serve

    def _stream_unary(
        self, method: Method, handler: Handler
    ) -> Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]:
        async def serve(stream: AsyncIterator[bytes], context: Context) -> bytes:
            async def run(call: Call) -> Message:
                messages = (self._parse(method, data) async for data in self._calls.upload(stream))
                reply: Message = await handler(messages, call)
                return reply

            if self._calls.draining:
                await self._calls.read_up(stream)
            return await self._reply(method, context, run, upload=True)

        return serve

    def _unary_stream(
        self, method: Method, handler: Handler
    ) -> Callable[[bytes, Context], Awaitable[None]]:
        # Written here, as a generator would not be told where the call ends while gRPC sends.
        async def serve(data: bytes, context: Context) -> None:
            request_id = new_request_id()
            try:
                async with self._calls.handle(
                    *(method.name, TRANSPORT, None),
                    request_id=request_id,
                    timeout=context.time_remaining(),
                    watch=True,
                    local=is_local(context.peer()),
                    reply_bytes=_reply_bytes(context),
                ) as call:
                    request = self._parse(method, data)
                    call.tenant = tenant_of(request)
                    async with aclosing(handler(request, call)) as replies:
                        async for reply in replies:
                            await self._write(context, reply.SerializeToString())
            except Exception as error:
                await _abort(context, request_id, error)
            context.set_trailing_metadata((("x-request-id", request_id),))

        return serve

    async def _reply(
        self,
        method: Method,
        context: Context,
        run: Callable[[Call], Awaitable[Message]],
        *,
        upload: bool = False,
    ) -> bytes:
        request_id = new_request_id()
        try:
            async with self._calls.handle(
                *(method.name, TRANSPORT, None),
                request_id=request_id,
                timeout=context.time_remaining(),
                upload=upload,
                local=is_local(context.peer()),
                reply_bytes=_reply_bytes(context),
            ) as call:
                reply = await run(call)
                if getattr(reply, "errors", None):
                    self._calls.record_reply(call, reply)
                data = reply.SerializeToString()
        except Exception as error:
            await _abort(context, request_id, error)
        context.set_trailing_metadata((("x-request-id", request_id),))
        return data

    def _parse(self, method: Method, data: bytes) -> Message:
        if len(data) > self._max_message_bytes:
            raise InvalidRequest(
                f"request: at most {self._max_message_bytes} bytes, has {len(data)}",
                field="request",
                limit=self._max_message_bytes,
                value=len(data),
            )
        try:
            return method.request.FromString(data)
        except DecodeError as error:
            raise InvalidRequest(
                f"request: must be a {method.request.DESCRIPTOR.full_name} with strings in UTF-8, "
                "cannot be parsed; a text that may be no UTF-8 goes into text_utf8",
                field="request",
                limit=method.request.DESCRIPTOR.full_name,
                value=f"{len(data)} bytes",
            ) from error


class _Reflection(reflection.aio.ReflectionServicer):
    """Reflection whose streams end with an error that says when to come again."""

    def __init__(self, calls: Calls, names: Sequence[str]) -> None:
        super().__init__(names)
        self._calls = calls

    async def ServerReflectionInfo(  # type: ignore[override]  # its types say a coroutine
        self, request_iterator: AsyncIterator[Any], unused_context: Any
    ) -> AsyncIterator[Any]:
        """Describes what is asked for."""
        replies: Any = super().ServerReflectionInfo(
            self._calls.upload(request_iterator), unused_context
        )
        try:
            async for reply in replies:
                yield reply
        except Unavailable as error:
            await _abort(unused_context, new_request_id(), error)


class _UnknownMethods(grpc.GenericRpcHandler):
    """Answers what no service has, with an id that is in the log."""

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Returns a handler that refuses the call."""
        path = handler_call_details.method

        async def refuse(stream: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            error = UnknownMethod(f"method: there is no {path[:200]}", field="method", value=path)
            await _refuse(context, error, path[:200])
            yield b""  # makes this a stream

        return grpc.stream_stream_rpc_method_handler(refuse)


def is_local(peer: str) -> bool:
    """Returns whether a peer, as gRPC names it (``ipv4:127.0.0.1:50051``), is on this machine."""
    kind, _, address = unquote(peer).partition(":")
    if kind == "unix":
        return True
    return kind in ("ipv4", "ipv6") and is_loopback(address.rpartition(":")[0].strip("[]"))


def _reply_bytes(context: Context) -> int:
    return read_reply_bytes(dict(context.invocation_metadata() or ()).get(REPLY_BYTES_KEY))


async def _refuse(context: Context, error: ServiceError, method: str) -> NoReturn:
    """Answers a call that reached no handler, and logs it under an id of its own."""
    request_id = new_request_id()
    problem = problem_of(error)
    log.info(
        "request failed",
        request_id=request_id,
        method=method,
        transport=TRANSPORT,
        code=problem.status.code.name,
        reason=problem.message,
    )
    await _abort(context, request_id, error)


async def _abort(context: Context, request_id: str, error: Exception) -> NoReturn:
    problem = problem_of(error)
    details = [
        _pack(
            error_details_pb2.ErrorInfo(
                reason=problem.reason,
                domain=ERROR_DOMAIN,
                metadata={
                    key: value
                    for key, value in (
                        ("field", problem.field),
                        ("limit", problem.limit),
                        ("value", problem.value),
                    )
                    if value
                },
            )
        ),
        _pack(error_details_pb2.RequestInfo(request_id=request_id)),
    ]
    if problem.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(problem.retry_after * 1e9))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    status = status_pb2.Status(
        code=problem.status.code.value[0], message=problem.message, details=details
    )
    await context.abort(
        problem.status.code,
        problem.message,
        (
            ("grpc-status-details-bin", status.SerializeToString()),
            ("x-request-id", request_id),
        ),
    )


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
