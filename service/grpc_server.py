"""The gRPC transport: every method of the proto files, health, and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service.application import Handler, Readiness
from service.calls import Call, Calls, tenant_of
from service.errors import InvalidRequest, StartupError, problem_of
from service.methods import Method, methods_of

Context = grpc.aio.ServicerContext[bytes, bytes]

ERROR_DOMAIN = "trunkline"
FLUSH_SECONDS = 0.25
"""For the last replies to leave."""


class GrpcServer:
    """A gRPC server for these services.

    Args:
        address: ``host:port`` or ``unix:PATH``; port 0 takes a free one.

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
        max_message_bytes: int,
    ) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # else a second server shares the port in silence
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        self._health = health.aio.HealthServicer()
        self._names = [service.full_name for service in services]
        self._add_services(services, handlers, calls)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise StartupError(f"gRPC cannot listen on {address}: {error}") from error
        self._readiness = readiness
        self._ready = False
        self._health_changed = asyncio.Event()
        self._health_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to serve; health follows the application's readiness."""
        await self._server.start()
        self._health_task = asyncio.create_task(self._keep_health())
        self._readiness.listen(self._note_readiness)

    def _note_readiness(self, ready: bool) -> None:
        self._ready = ready
        self._health_changed.set()

    async def _keep_health(self) -> None:
        while True:
            await self._health_changed.wait()
            self._health_changed.clear()
            status = (
                health_pb2.HealthCheckResponse.SERVING
                if self._ready
                else health_pb2.HealthCheckResponse.NOT_SERVING
            )
            for name in ("", *self._names):
                await self._health.set(name, status)

    async def close(self) -> None:
        """Ends what is left: watches, once the application has finished its requests."""
        if self._health_task is not None:
            self._health_task.cancel()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(FLUSH_SECONDS)

    def _add_services(
        self,
        services: Sequence[ServiceDescriptor],
        handlers: Mapping[str, Handler],
        calls: Calls,
    ) -> None:
        for service in services:
            self._server.add_generic_rpc_handlers(
                (
                    grpc.method_handlers_generic_handler(
                        service.full_name,
                        {
                            method.name: _rpc(method, handlers[method.name], calls)
                            for method in methods_of(service)
                        },
                    ),
                )
            )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )


def _rpc(method: Method, handler: Handler, calls: Calls) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Messages are parsed and packed in here, so that a malformed one is answered as an error."""
    if method.client_streaming:
        return grpc.stream_unary_rpc_method_handler(_stream_unary(method, handler, calls))
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_unary_stream(method, handler, calls))
    return grpc.unary_unary_rpc_method_handler(_unary_unary(method, handler, calls))


def _unary_unary(
    method: Method, handler: Handler, calls: Calls
) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def serve(data: bytes, context: Context) -> bytes:
        call: Call | None = None
        try:
            async with calls.handle(
                method.name, "grpc", None, timeout=context.time_remaining()
            ) as call:
                request = _parse(method, data)
                call.tenant = tenant_of(request)
                reply: Message = await handler(request, call)
                if getattr(reply, "errors", None):
                    calls.note_reply(call, reply)
        except Exception as error:
            await _abort(context, call, error)
            raise
        context.set_trailing_metadata((("x-request-id", call.request_id),))
        return reply.SerializeToString()

    return serve


def _stream_unary(
    method: Method, handler: Handler, calls: Calls
) -> Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]:
    async def serve(stream: AsyncIterator[bytes], context: Context) -> bytes:
        call: Call | None = None
        try:
            async with calls.handle(
                method.name, "grpc", None, timeout=context.time_remaining(), upload=True
            ) as call:
                reply: Message = await handler(
                    (_parse(method, data) async for data in stream), call
                )
                if getattr(reply, "errors", None):
                    calls.note_reply(call, reply)
        except Exception as error:
            await _abort(context, call, error)
            raise
        context.set_trailing_metadata((("x-request-id", call.request_id),))
        return reply.SerializeToString()

    return serve


def _unary_stream(
    method: Method, handler: Handler, calls: Calls
) -> Callable[[bytes, Context], AsyncIterator[bytes]]:
    async def serve(data: bytes, context: Context) -> AsyncIterator[bytes]:
        call: Call | None = None
        try:
            async with calls.handle(
                method.name, "grpc", None, timeout=context.time_remaining(), watch=True
            ) as call:
                request = _parse(method, data)
                call.tenant = tenant_of(request)
                async for reply in handler(request, call):
                    yield reply.SerializeToString()
        except Exception as error:
            await _abort(context, call, error)
            raise
        context.set_trailing_metadata((("x-request-id", call.request_id),))

    return serve


def _parse(method: Method, data: bytes) -> Message:
    try:
        return method.request.FromString(data)
    except DecodeError as error:
        raise InvalidRequest(
            f"request: must be a {method.request.DESCRIPTOR.full_name}, cannot be parsed",
            field="request",
            limit=method.request.DESCRIPTOR.full_name,
            value=f"{len(data)} bytes",
        ) from error


async def _abort(context: Context, call: Call | None, error: Exception) -> None:
    problem = problem_of(error)
    request_id = "" if call is None else call.request_id
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
