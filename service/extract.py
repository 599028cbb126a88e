"""``trunkline extractor``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from models import ModelError
from service.addresses import join_address
from service.application import ExtractorApplication
from service.cluster.member import EXTRACTION
from service.cluster.pages import serve_page
from service.config import StandaloneExtractorSettings, parse_settings
from service.errors import ServiceError
from service.listening import listen
from service.logs import configure_logging, get_logger
from service.process_limits import (
    MemoryReturn,
    connections_within,
    limit_accept_log,
    raise_file_limit,
)
from service.stopping import CLOSE_SECONDS, exit_at_once, on_signals, say_stopped
from service.tls import certificates_of
from service.transport.grpc_server import GrpcServer
from service.transport.http_server import serve_asgi
from service.transport.limits import TransportLimits
from service.transport.methods import OF_THE_EXTRACTOR
from service.transport.receiving import ReceivingBudget
from service.transport.sites import Sites, metrics_app

EXTRACTOR = """Start the extraction service alone, for servers that are given its address.

When it is ready it prints one JSON line with its addresses. The log is on standard error.
`trunkline config extractor` prints the settings it would have, and where each comes from.
"""

log = get_logger(__name__)


def extractor_main(args: list[str]) -> int:
    """Runs the extractor until it is told to stop: that ends the process. Returns why it failed."""
    try:
        settings = parse_settings(
            StandaloneExtractorSettings, "trunkline extractor", args, EXTRACTOR
        )
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return run_extractor(settings)


def run_extractor(settings: StandaloneExtractorSettings, folder: Path | None = None) -> int:
    """Runs the extractor until it is told to stop: that ends the process. Returns why it failed.

    Args:
        folder: where it gives its metrics to the processes it belongs to; None for its own port.
    """
    try:
        configure_logging(settings.log_level, settings.log_format)
        asyncio.run(_extract(settings, folder))
    except (ServiceError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return exit_at_once()


async def _extract(settings: StandaloneExtractorSettings, folder: Path | None) -> None:
    limits = TransportLimits.of(
        settings, connections_within(raise_file_limit(), settings.max_connections)
    )
    receiving = ReceivingBudget(
        settings.max_receiving_bytes, limits.body_seconds, MemoryReturn().after
    )
    limit_accept_log(asyncio.get_running_loop())
    application = ExtractorApplication(settings, private=folder is not None)
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
    if folder is None:
        listener = listen(settings.host, settings.metrics_port, "metrics")
        metrics_address = f"{join_address(settings.host, listener.getsockname()[1])}/metrics"
        sites = Sites(settings.allowed_origins, loopback_only=settings.loopback_only)
        exposed = metrics_app(
            application.metrics.registry, sites, application.authentication, application.readiness
        )
        metrics = await serve_asgi(exposed, listener, limits, certificates)
    else:
        metrics_address = ""
        metrics = await serve_page(folder, EXTRACTION, application.metrics.registry)
    if certificates is not None:
        certificates.follow(application.metrics)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_once(number: int) -> None:
        if stop.is_set() and number == signal.SIGINT:
            application.drop_requests()  # somebody pressed Ctrl-C again
        stop.set()

    if folder is None:  # else it ends with the processes it belongs to
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
            _print_addresses(settings, server, metrics_address)
            await told
        log.info("stopping", drain_seconds=settings.drain_seconds)
        await application.finish_requests()
    finally:
        await server.close()
        if not loading.done():
            say_stopped()
            os._exit(0)  # loading cannot be interrupted
        await application.close()
        metrics.close()
        if certificates is not None:
            await certificates.close()
    say_stopped()


def _print_addresses(
    settings: StandaloneExtractorSettings, server: GrpcServer, metrics: str
) -> None:
    scheme = "http" if settings.tls_cert is None else "https"
    addresses = {"grpc": server.address}
    if metrics:
        addresses["metrics"] = f"{scheme}://{metrics}"
    log.info("serving", **addresses)
    print(json.dumps(addresses), flush=True)
