"""``trunkline serve`` and ``trunkline extractor``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress

import uvicorn

from models import ModelError
from service.addresses import join_address
from service.application import ExtractorApplication
from service.config import (
    WITH_PASSWORDS,
    ServerSettings,
    StandaloneExtractorSettings,
    parse_settings,
)
from service.errors import ServiceError, StartupError
from service.logs import configure_logging, get_logger
from service.process_limits import (
    MemoryReturn,
    connections_within,
    limit_accept_log,
    raise_file_limit,
)
from service.stopping import CLOSE_SECONDS, exit_at_once, on_signals
from service.store.data_directory import UNUSED, make_folder
from service.store.opening import examine_files
from service.tls import certificates_of
from service.transport.grpc_server import GrpcServer
from service.transport.http_server import http_config, serve_asgi
from service.transport.limits import TransportLimits
from service.transport.methods import OF_THE_EXTRACTOR
from service.transport.receiving import ReceivingBudget
from service.transport.rest import Backend
from service.transport.sites import Sites, metrics_app

SERVER = """Start the server: gRPC and REST in one process.

When it is ready it prints one JSON line with its addresses. The log is on standard error.
`trunkline config` prints the settings it would have, and where each comes from.
"""
EXTRACTOR = """Start the extraction service alone, for servers that are given its address.

When it is ready it prints one JSON line with its addresses. The log is on standard error.
`trunkline config extractor` prints the settings it would have, and where each comes from.
"""

LINGER_SECONDS = 0.4
"""Time for requests that are on their way over open connections to reach a server that stops."""
FLUSH_SECONDS = 1
"""Time for the last replies to leave."""

log = get_logger(__name__)


def serve_main(args: list[str]) -> int:
    """Runs the server until it is told to stop: that ends the process. Returns why it failed."""
    try:
        settings = parse_settings(ServerSettings, "trunkline serve", args, SERVER)
        listener = _listen(settings.host, settings.rest_port, "REST")
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # BentoML's metrics endpoint wants such a directory, which its supervisor would make.
    unused = settings.data_dir / UNUSED
    try:
        make_folder(settings.data_dir)
        examine_files(settings.data_dir, settings.store_url, new_store=settings.new_store)
        make_folder(unused)
    except StartupError as error:
        listener.close()
        print(f"error: {error}", file=sys.stderr)
        return 1
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(unused)
    _export(settings, rest_port=listener.getsockname()[1])
    return _serve(listener)


def extractor_main(args: list[str]) -> int:
    """Runs the extractor until it is told to stop: that ends the process. Returns why it failed."""
    try:
        settings = parse_settings(
            StandaloneExtractorSettings, "trunkline extractor", args, EXTRACTOR
        )
        configure_logging(settings.log_level, settings.log_format)
        asyncio.run(_extract(settings))
    except (ServiceError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return exit_at_once()


def _listen(host: str, port: int, name: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only on sockets that say they are TCP's; with it, every
    # reply on a kept-alive connection waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartupError(f"{name} cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _export(settings: ServerSettings, rest_port: int) -> None:
    """Hands the settings on to the BentoML service, which reads them from the environment."""
    values = settings.model_dump(mode="json", context=WITH_PASSWORDS) | {"rest_port": rest_port}
    for name, value in values.items():
        if value is not None:
            text = ",".join(value) if isinstance(value, list) else str(value)
            os.environ[f"TRUNKLINE_{name.upper()}"] = text


def _serve(listener: socket.socket) -> int:
    from service.bento.service import CERTIFICATES, LIMITS, SERVICE, SETTINGS, backend

    config = http_config(
        SERVICE.to_asgi(is_main=True),
        LIMITS,
        CERTIFICATES,
        trusted_proxies=SETTINGS.trusted_proxies,
        timeout_graceful_shutdown=FLUSH_SECONDS,  # requests have ended before
    )
    server = _Server(config, backend)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn takes over, and at its end repeats the signal for whoever handled it before.
        signal.signal(number, lambda *_: None if server.started else os._exit(0))
    server.run(sockets=[listener])
    if server.started:
        exit_at_once()
    return 1


class _Server(uvicorn.Server):
    """uvicorn, but no request is dropped that is on its way when the port is closed."""

    def __init__(self, config: uvicorn.Config, backend: Backend) -> None:
        super().__init__(config)
        self._backend = backend

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Opens the port."""
        await super().startup(sockets)
        self._backend.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the port, answers who is connected once more, and closes the connections."""
        waiting = [one for listener in sockets or () for one in _waiting(listener)]
        for server in self.servers:
            server.close()
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        if waiting or self.server_state.connections:  # over TLS who waits is none of these yet
            await asyncio.sleep(LINGER_SECONDS)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """Accepts the connections that wait: closing the listener would reset them."""
    with suppress(BlockingIOError):
        while True:
            yield listener.accept()[0]


async def _extract(settings: StandaloneExtractorSettings) -> None:
    limits = TransportLimits.of(
        settings, connections_within(raise_file_limit(), settings.max_connections)
    )
    receiving = ReceivingBudget(
        settings.max_receiving_bytes, limits.body_seconds, MemoryReturn().after
    )
    limit_accept_log(asyncio.get_running_loop())
    application = ExtractorApplication(settings)
    address = (
        f"unix:{settings.socket.absolute()}"
        if settings.socket
        else join_address(settings.host, settings.port)
    )
    certificates = certificates_of(settings.tls_files)
    server = GrpcServer(
        address,
        OF_THE_EXTRACTOR,
        application.handlers,
        application.calls,
        application.authentication,
        application.readiness,
        limits,
        receiving,
        certificates,
    )
    listener = _listen(settings.host, settings.metrics_port, "metrics")
    sites = Sites(settings.allowed_origins, loopback_only=settings.loopback_only)
    exposed = metrics_app(
        application.metrics.registry, sites, application.authentication, application.readiness
    )
    metrics = await serve_asgi(exposed, listener, limits, certificates)
    if certificates is not None:
        certificates.follow(application.metrics)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_once(number: int) -> None:
        if stop.is_set() and number == signal.SIGINT:
            application.drop_requests()  # somebody pressed Ctrl-C again
        stop.set()

    on_signals(
        lambda number, _: loop.is_closed() or loop.call_soon_threadsafe(stop_once, number),
        settings.drain_seconds + CLOSE_SECONDS,
    )
    loading = asyncio.create_task(application.start())
    told = asyncio.create_task(stop.wait())
    try:
        await server.start()
        await asyncio.wait((loading, told), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            await loading
            await application.readiness.until_ready()
            _print_addresses(settings, server, listener.getsockname()[1])
            await told
        log.info("stopping", drain_seconds=settings.drain_seconds)
        await application.finish_requests()
    finally:
        await server.close()
        if not loading.done():
            log.info("stopped")
            os._exit(0)  # loading cannot be interrupted
        await application.close()
        metrics.close()
        if certificates is not None:
            await certificates.close()
    log.info("stopped")


def _print_addresses(
    settings: StandaloneExtractorSettings, server: GrpcServer, metrics_port: int
) -> None:
    scheme = "http" if settings.tls_cert is None else "https"
    addresses = {
        "grpc": server.address,
        "metrics": f"{scheme}://{join_address(settings.host, metrics_port)}/metrics",
    }
    log.info("serving", **addresses)
    print(json.dumps(addresses), flush=True)
