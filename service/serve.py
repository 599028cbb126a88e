"""``trunkline serve`` and ``trunkline extractor``."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress

import uvicorn

from service.cluster.supervisor import Supervisor, check_folder, prepare
from service.config import (
    WITH_PASSWORDS,
    ServerSettings,
    parse_settings,
)
from service.errors import ServiceError, StartupError
from service.listening import listen
from service.logs import configure_logging, get_logger
from service.stopping import exit_at_once
from service.store.data_directory import UNUSED, make_folder
from service.store.opening import examine_files
from service.transport.backend import Backend
from service.transport.http_server import http_config

SERVER = """Start the server: gRPC and REST in one process.

When it is ready it prints one JSON line with its addresses. The log is on standard error.
`trunkline config` prints the settings it would have, and where each comes from.
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
        if settings.workers > 1:
            check_folder(settings)
        listener = listen(settings.host, settings.rest_port, "REST")
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
    if settings.workers > 1:
        return _supervise(settings, listener)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(unused)
    _export(settings, rest_port=listener.getsockname()[1])
    return run_server(listener)


def _supervise(settings: ServerSettings, rest: socket.socket) -> int:
    """Runs several processes until it is told to stop; returns the status to exit with."""
    configure_logging(settings.log_level, settings.log_format)
    ports = {}
    try:
        grpc_ = listen(settings.host, settings.grpc_port, "gRPC")
        for name, free in (("grpc_port", grpc_), ("rest_port", rest)):
            ports[name] = free.getsockname()[1]
            free.close()  # that nobody else has it is known now
        # Bound, and never listened on: nobody else takes it while a process is started anew.
        held = [listen(settings.host, port, name, shared=True) for name, port in ports.items()]
        lock = prepare(settings)
    except (ServiceError, StartupError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    environment = {k: v for k, v in os.environ.items() if k != "TRUNKLINE_CONFIG"}
    environment |= _variables(settings)
    environment |= {f"TRUNKLINE_{name.upper()}": str(port) for name, port in ports.items()}

    async def run() -> int:
        return await Supervisor(settings, environment, lock).run()

    status = asyncio.run(run())
    for one in held:
        one.close()
    return status


def _export(settings: ServerSettings, rest_port: int) -> None:
    """Hands the settings on to the BentoML service, which reads them from the environment."""
    os.environ.update(_variables(settings) | {"TRUNKLINE_REST_PORT": str(rest_port)})


def _variables(settings: ServerSettings) -> dict[str, str]:
    """Returns settings as variables of the environment."""
    return {
        f"TRUNKLINE_{name.upper()}": ",".join(value) if isinstance(value, list) else str(value)
        for name, value in settings.model_dump(mode="json", context=WITH_PASSWORDS).items()
        if value is not None
    }


def run_server(listener: socket.socket) -> int:
    """Serves by the settings in the environment until it is told to stop, which ends the process.

    Returns why it failed.
    """
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
