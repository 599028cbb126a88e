"""``trunkline serve`` and ``trunkline extractor``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any, TypeVar

import uvicorn
from prometheus_client import CollectorRegistry, start_http_server
from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsError

from models import ModelError
from service.addresses import join_address
from service.application import ExtractorApplication
from service.config import (
    ServerSettings,
    StandaloneExtractorSettings,
    describe_validation,
    load_settings,
)
from service.errors import InvalidSettings, ServiceError, StartupError
from service.logs import configure_logging, get_logger
from service.store.examination import UNUSED, examine, make_folder
from service.transport.grpc_server import GrpcServer
from service.transport.methods import OF_THE_EXTRACTOR
from service.transport.sites import Sites, metrics_app

S = TypeVar("S", bound=BaseSettings)

MAX_HEAD_BYTES = 1024 * 1024

log = get_logger(__name__)


def serve_main(args: list[str]) -> int:
    """Runs the server until it is told to stop; returns the exit status."""
    try:
        settings = parse_settings(ServerSettings, "trunkline serve", args)
        listener = _listen(settings.host, settings.rest_port)
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # BentoML's metrics endpoint wants such a directory, which its supervisor would make.
    unused = settings.data_dir / UNUSED
    try:
        make_folder(settings.data_dir)
        examine(settings.data_dir, new_store=settings.new_store)
        make_folder(unused)
    except StartupError as error:
        listener.close()
        print(f"error: {error}", file=sys.stderr)
        return 1
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(unused)
    _export(settings, rest_port=listener.getsockname()[1])
    return _serve(listener)


def extractor_main(args: list[str]) -> int:
    """Runs the extraction service alone until it is told to stop; returns the exit status."""
    try:
        settings = parse_settings(StandaloneExtractorSettings, "trunkline extractor", args)
        configure_logging(settings.log_level, settings.log_format)
        asyncio.run(_extract(settings))
    except (ServiceError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse_settings(cls: type[S], program: str, args: list[str]) -> S:
    """Reads settings from the command line, before the environment and the file.

    Raises:
        InvalidSettings: naming every field at fault.
    """
    files = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    files.add_argument("--config")
    try:
        named, args = files.parse_known_args(args)
    except argparse.ArgumentError as error:
        raise InvalidSettings("config: needs the path of a TOML file") from error
    if named.config is not None:
        os.environ["TRUNKLINE_CONFIG"] = named.config
    try:
        source: CliSettingsSource[Any] = CliSettingsSource(
            cls, cli_prog_name=program, cli_parse_args=args
        )
        return load_settings(cls, _cli_settings_source=source)  # type: ignore[type-var]
    except SettingsError as error:
        raise InvalidSettings(str(error)) from error
    except ValidationError as error:
        raise InvalidSettings(describe_validation(error)) from error


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only on sockets that say they are TCP's; with it, every
    # reply on a kept-alive connection waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartupError(f"REST cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _export(settings: ServerSettings, rest_port: int) -> None:
    """Hands the settings on to the BentoML service, which reads them from the environment."""
    values = settings.model_dump(mode="json") | {"rest_port": rest_port}
    for name, value in values.items():
        if value is not None:
            text = ",".join(value) if isinstance(value, list) else str(value)
            os.environ[f"TRUNKLINE_{name.upper()}"] = text


def _serve(listener: socket.socket) -> int:
    from service.bento import SERVICE, SETTINGS

    config = uvicorn.Config(
        SERVICE.to_asgi(is_main=True),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        # Longer headers are refused in words of our own, by the guard, and not by the parser.
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=max(1, int(SETTINGS.drain_seconds)),
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn takes over, and at its end repeats the signal for whoever handled it before.
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])
    return 0 if server.started else 1


async def _extract(settings: StandaloneExtractorSettings) -> None:
    application = ExtractorApplication(settings)
    address = (
        f"unix:{settings.socket.absolute()}"
        if settings.socket
        else join_address(settings.host, settings.port)
    )
    server = GrpcServer(
        address,
        OF_THE_EXTRACTOR,
        application.handlers,
        application.calls,
        application.readiness,
        settings.max_message_bytes,
    )
    try:
        metrics, thread = start_http_server(
            settings.metrics_port, settings.host, CollectorRegistry()
        )
        sites = Sites(settings.allowed_origins, loopback_only=not settings.insecure)
        metrics.set_app(metrics_app(application.metrics.registry, sites))
    except OSError as error:
        raise StartupError(
            f"metrics cannot listen on {settings.host}:{settings.metrics_port}: {error.strerror}"
        ) from error
    try:
        await server.start()
        await application.start()  # until then a signal ends the process: nothing is under way
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        _print_addresses(settings, address, server.port, metrics.server_port)
        await stop.wait()
        await application.finish_requests()
    finally:
        await server.close()
        await application.close()
        metrics.shutdown()
        thread.join()
    log.info("stopped")


def _print_addresses(
    settings: StandaloneExtractorSettings, address: str, port: int, metrics_port: int
) -> None:
    addresses = {
        "grpc": address if settings.socket else join_address(settings.host, port),
        "metrics": f"http://{join_address(settings.host, metrics_port)}/metrics",
    }
    log.info("serving", **addresses)
    print(json.dumps(addresses), flush=True)
