"""The gRPC transport: every method of the proto files, health, and reflection."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from service.access.authentication import Authentication
from service.access.caller import NOBODY
from service.config import GRPC_MARGIN_BYTES
from service.errors import ServiceError, StartupError, UnknownMethod
from service.logs import get_logger
from service.requests.calls import Calls, Handler
from service.tls import Certificates
from service.transport.grpc_arrival import headers_of
from service.transport.grpc_calls import Translator
from service.transport.grpc_errors import Context, refuse
from service.transport.grpc_guard import GrpcGuard
from service.transport.grpc_health import Health
from service.transport.grpc_log import GrpcLog
from service.transport.grpc_reflection import Reflection
from service.transport.limits import TransportLimits
from service.transport.methods import PREDICTION, methods_of
from service.transport.protocols.oip.grpc_service import InferenceService
from service.transport.protocols.oip.messages import SERVICE as INFERENCE
from service.transport.readiness import Readiness
from service.transport.receiving import ReceivingBudget

log = get_logger(__name__)

LEAST_STREAMS = 16
STREAMS_SHARE = 32
"""A connection has a 32nd of `max_calls` open at once; grpcio's clients wait before they open more.
"""
PROBES = 2
"""Messages of health that arrive at once; how large one will be is not known before."""
QUIET_SECONDS = 0.1
"""Time without a call after which none is taken to be on its way."""
HOLD_SECONDS = 0.4
"""Time that such a quiet is waited for, at most."""
GOAWAY_SECONDS = 0.2
"""Time for clients to hear that they must not send any more."""
FLUSH_SECONDS = 0.25
"""Time for the last replies to leave."""
REBIND_SECONDS = 0.01
"""Time before the next attempt to listen, times the failures so far."""
REBINDS = 100
"""Failures in a row after which the server is not ready."""
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
_NO_AGE = 2**31 - 1  # gRPC's own word for it


class GrpcServer:
    """A gRPC server for these services.

    grpcio ends a server by itself where the path of a call is no UTF-8. What is under way there is
    answered, and another one listens on the same port.

    Args:
        address: ``host:port`` or ``unix:PATH``; port 0 takes a free one.
        certificates: if TLS is spoken, which it is not over a Unix socket.
        shares_port: whether other processes of ours listen on the same port.

    Raises:
        StartupError: something else listens there.
    """

    def __init__(
        self,
        address: str,
        services: Sequence[ServiceDescriptor],
        handlers: Mapping[str, Handler],
        calls: Calls,
        authentication: Authentication,
        readiness: Readiness,
        limits: TransportLimits,
        budget: ReceivingBudget,
        certificates: Certificates | None = None,
        *,
        shares_port: bool = False,
    ) -> None:
        self._shares_port = shares_port
        self._certificates = None if address.startswith("unix:") else certificates
        self._services, self._handlers, self._calls = services, handlers, calls
        self._authentication = authentication
        self._readiness, self._limits, self._budget = readiness, limits, budget
        self._probes = budget.beside(
            PROBES * (limits.max_message_bytes + GRPC_MARGIN_BYTES), "health checks arrive at once"
        )
        self._names = [service.full_name for service in services]
        if PREDICTION in services:
            self._names.append(INFERENCE)
        self._health = Health(self._names, readiness, calls)
        self._server = self._build()
        try:
            self.port = self._add_port(address)
        except RuntimeError as error:
            raise StartupError(f"gRPC cannot listen on {address}: {error}") from error
        host, _, port = address.rpartition(":")
        self._address = address if port != "0" else f"{host}:{self.port}"
        self._keeper: asyncio.Task[None] | None = None
        self._ended: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """What clients take for its address."""
        return self._address if self._certificates is None else f"grpcs://{self._address}"

    async def start(self) -> None:
        """Begins to serve; health follows the application's readiness."""
        await self._server.start()
        crashed, loop = asyncio.Event(), asyncio.get_running_loop()
        grpc_log = GrpcLog(lambda: loop.call_soon_threadsafe(crashed.set))
        self._keeper = asyncio.create_task(self._keep_serving(crashed))
        self._keeper.add_done_callback(lambda _: grpc_log.close())

    async def close(self) -> None:
        """Ends what is left, once the application has finished its requests.

        gRPC ends calls that reach a closing server with CANCELLED. So calls that come now wait
        until clients know that they must not send any more; only then are they refused.
        """
        self._health.end()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        for ended in self._ended:
            ended.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(HOLD_SECONDS):
                await self._calls.hold(QUIET_SECONDS)
        stopping = asyncio.create_task(_stop(self._server))
        await asyncio.wait([stopping], timeout=GOAWAY_SECONDS)
        self._calls.release()
        await asyncio.wait([stopping, *self._ended])
        await stopping

    async def _keep_serving(self, crashed: asyncio.Event) -> None:
        """Has another server listen whenever grpcio has ended the one that did."""
        while True:
            await crashed.wait()
            crashed.clear()
            try:
                await self._server.wait_for_termination(0)
            except Exception as error:  # what ended it, of whatever kind
                await self._replace(error)

    async def _replace(self, error: Exception) -> None:
        ended = asyncio.create_task(_finish(self._server))
        self._ended.add(ended)
        ended.add_done_callback(self._ended.discard)
        self._server = self._build()
        await self._until_unlinked()
        failures = 0
        while True:
            try:
                self._add_port(self._address)
                break
            except RuntimeError:  # the port of the one that ended may not be closed yet
                failures += 1
                if failures == REBINDS:
                    log.error("gRPC cannot listen any more", address=self._address)
                    self._readiness.set_grpc_listens(False)
                await asyncio.sleep(min(REBIND_SECONDS * failures, 1.0))
        await self._server.start()
        self._readiness.set_grpc_listens(True)
        log.warning("gRPC server ended by itself; another one listens", reason=repr(error)[:200])

    async def _until_unlinked(self) -> None:
        """Waits until the server that ended has removed its Unix socket: it would the next one."""
        kind, _, path = self._address.partition(":")
        for _ in range(REBINDS if kind == "unix" else 0):
            if not await asyncio.to_thread(os.path.exists, path):
                return
            await asyncio.sleep(REBIND_SECONDS)

    def _add_port(self, address: str) -> int:
        if self._certificates is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, self._certificates.server_credentials())

    def _build(self) -> grpc.aio.Server:
        limits = self._limits
        server = grpc.aio.server(
            options=[
                # Else a second server would share the port in silence.
                ("grpc.so_reuseport", int(self._shares_port)),
                # Somewhat above our own limit, whose error names field and value.
                ("grpc.max_receive_message_length", limits.max_message_bytes + GRPC_MARGIN_BYTES),
                ("grpc.max_allowed_incoming_connections", limits.max_connections),
                (
                    "grpc.max_concurrent_streams",
                    max(LEAST_STREAMS, limits.max_calls // STREAMS_SHARE),
                ),
                ("grpc.server_handshake_timeout_ms", int(limits.head_seconds * 1000)),
                ("grpc.max_connection_idle_ms", int(limits.idle_seconds * 1000)),
                # Without a grace: calls under way end by themselves.
                ("grpc.max_connection_age_ms", int(limits.age_seconds * 1000) or _NO_AGE),
                # The window of a stream that nobody reads stays at 64 KiB.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.max_send_message_length", -1),
                *KEEPALIVE,
            ]
        )
        guard = GrpcGuard(
            server, limits, self._budget, self._probes, self._calls, self._authentication
        )
        translator = Translator(self._calls, limits, guard.write)
        for service in self._services:
            methods = {
                method.name: translator.rpc(method, self._handlers[method.name])
                for method in methods_of(service)
            }
            guard.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service.full_name, methods),)
            )
        if PREDICTION in self._services:
            own = {method.name: method for method in methods_of(*self._services)}
            others = InferenceService(
                *(translator, own, self._handlers, self._readiness), max_parts=limits.max_parts
            )
            guard.add_generic_rpc_handlers((others.generic_handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, guard)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
            Reflection(self._calls, (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)),
            guard,
        )
        # These read nothing.
        server.add_generic_rpc_handlers((_UnknownMethods(self._authentication),))
        return server


async def _finish(server: grpc.aio.Server) -> None:
    """Lets the calls of a server end that grpcio has ended, until it is cancelled."""
    try:
        with suppress(Exception):  # what ended it; grpcio has logged it
            await server.wait_for_termination()
    finally:
        await _stop(server)


async def _stop(server: grpc.aio.Server) -> None:
    grace = GOAWAY_SECONDS + FLUSH_SECONDS
    try:
        await server.stop(grace)
    except Exception:  # the first to stop one that grpcio has ended is told what ended it
        await server.stop(grace)


class _UnknownMethods(grpc.GenericRpcHandler):
    """Answers what no service has, with an id that is in the log."""

    def __init__(self, authentication: Authentication) -> None:
        self._authentication = authentication

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Returns a handler that refuses the call."""
        path = handler_call_details.method

        async def serve(stream: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            caller = NOBODY
            try:
                caller = await self._authentication.caller(headers_of(context))
                raise UnknownMethod(f"method: there is no {path[:200]}", field="method", value=path)
            except ServiceError as error:
                await refuse(context, error, "/…", caller=caller)  # it may be a text
            yield b""  # makes this a stream

        return grpc.stream_stream_rpc_method_handler(serve)
