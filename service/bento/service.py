"""The BentoML service: REST, metrics and probes, with gRPC in the same process.

``trunkline serve`` and ``bentoml serve`` both run this; settings come from the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import bentoml
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.addresses import join_address
from service.application import Application
from service.bento import native, supervision, supervisor_endpoints, usage_statistics
from service.bento.native import EmbedBody, PredictBody
from service.bento.request_metrics import bound_request_metrics
from service.bento.request_timers import remove_request_timers
from service.cluster.keeper import keeper_address
from service.cluster.member import Member
from service.config import JSON_OVERHEAD, ServerSettings, load_settings
from service.errors import FitterDied
from service.logs import configure_logging, get_logger
from service.process_limits import (
    MemoryReturn,
    connections_within,
    limit_accept_log,
    raise_file_limit,
)
from service.stopping import CLOSE_SECONDS, on_signals, say_stopped
from service.tls import certificates_of
from service.transport.backend import Backend
from service.transport.grpc_server import GrpcServer
from service.transport.http_server import connection_class
from service.transport.last_answers import LastAnswers
from service.transport.limits import TransportLimits
from service.transport.methods import OF_THE_SERVER
from service.transport.protocols.label_studio.pictures import Pictures
from service.transport.protocols.routes import protocol_routes
from service.transport.receiving import ReceivingBudget
from service.transport.rest import rest_app
from service.transport.rest_guard import RestGuard

SETTINGS = load_settings(ServerSettings)
MEMBER = Member.of_environment()

READY_SECONDS = 5.0

log = get_logger(__name__)
configure_logging(SETTINGS.log_level, SETTINGS.log_format)
supervisor_endpoints.keep_private()
usage_statistics.switch_off()
LIMITS = TransportLimits.of(
    SETTINGS, connections_within(raise_file_limit(), SETTINGS.max_connections)
)
backend = Backend(LIMITS.max_parts)
RECEIVING = ReceivingBudget(
    SETTINGS.max_receiving_bytes, SETTINGS.body_timeout_seconds, MemoryReturn().after
)
CERTIFICATES = certificates_of(SETTINGS.tls_files)
PICTURES = Pictures(
    SETTINGS.label_studio_origin, SETTINGS.label_studio_token(), SETTINGS.max_image_bytes
)
supervision.replace_connections(connection_class(LIMITS, CERTIFICATES), SETTINGS.trusted_proxies)
remove_request_timers()
bound_request_metrics()


@bentoml.service(
    name="trunkline",
    workers=1,  # what shares a store is started by `trunkline serve`
    http={"host": SETTINGS.host, "port": SETTINGS.rest_port or 3000},
    traffic={"timeout": 86_400},  # deadlines are the application's own
    metrics={"enabled": True},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(rest_app(backend, protocol_routes(backend, PICTURES)), path="/")
class Trunkline:
    """One frozen backbone, a head for every tenant."""

    def __init__(self) -> None:
        self._application: Application | None = None
        self._grpc: GrpcServer | None = None
        self._handed_on: GrpcServer | None = None
        self._loading: asyncio.Task[None] | None = None
        self._announcing: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._closing_grpc: asyncio.Task[None] | None = None

    @bentoml.on_startup
    async def start(self) -> None:
        """Opens the store, listens on gRPC, loads the backbones."""
        with supervision.giving_up_on_errors():
            await self._start()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Drains, if that is not done yet, then closes the store."""
        if self._application is None or self._grpc is None:
            return
        try:
            await self._application.finish_requests()
            await (self._closing_grpc or self._grpc.close())
            if self._handed_on is not None:
                await self._handed_on.close()
            if self._announcing is None:
                say_stopped()
                os._exit(0)  # nothing is acknowledged yet, and loading cannot be interrupted
            self._announcing.cancel()
            await asyncio.wait([self._announcing])
            await self._application.close()
            if CERTIFICATES is not None:
                await CERTIFICATES.close()
        except Exception:
            log.exception("stopped, but not cleanly")
            os._exit(1)  # the interpreter would wait for threads that may hang
        say_stopped()

    @bentoml.api(route="/predict", input_spec=PredictBody)
    async def predict(self, **_: Any) -> dict[str, Any]:
        """Classify inputs with a head, named ``tenant/head`` or ``tenants/…/heads/…``."""
        return cast("dict[str, Any]", await native.predict(backend, _request()))

    @bentoml.api(route="/embed", input_spec=EmbedBody)
    async def embed(self, **_: Any) -> dict[str, Any]:
        """Embed inputs with a backbone, by default that of their modality."""
        return cast("dict[str, Any]", await native.embed(backend, _request()))

    async def __is_ready__(self) -> bool:
        """Answers ``/readyz``.

        Raises:
            HTTPException: there is more to say than BentoML would: why it is not ready, or what is
                wrong although it is.
        """
        if self._application is None:
            return False
        readiness = self._application.readiness
        if reasons := readiness.reasons:
            raise HTTPException(503, f"not ready: {'; '.join(reasons)}")
        if detail := readiness.detail():
            raise HTTPException(200, f"{detail}\n")
        return True

    async def __metrics__(self, others: str) -> str:
        """Answers ``/metrics``: BentoML's own and ours.

        Under BentoML's supervisor metrics are written to files as well, which other servers of
        this machine write, too: ours are taken from memory alone.
        """
        lines = [line for line in others.splitlines() if "trunkline_" not in line]
        if self._application is not None:
            lines.append(generate_latest(self._application.metrics.registry).decode())
            if (links := self._application.links) is not None:
                return await links.metrics("\n".join(lines))
        return "\n".join(lines)

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        on_signals(
            lambda number, pass_on: loop.call_soon_threadsafe(self._begin_stop, number, pass_on),
            SETTINGS.drain_seconds + CLOSE_SECONDS,
        )
        address = supervision.rest_address(SETTINGS)
        supervision.check_workers(SETTINGS)
        supervision.check_tls()
        supervision.exit_with_parent()
        limit_accept_log(asyncio.get_running_loop())
        application = self._application = Application(SETTINGS, MEMBER)
        await application.open()
        if MEMBER is None:
            await self._listen(application)
            # Probes are answered, with "not ready", while the backbones are loaded.
            self._loading = asyncio.create_task(self._load(application, address))
            return
        await application.start()
        await self._until_ready(application)
        if MEMBER.keeper:
            self._handed_on = self._grpc_server(application, keeper_address(MEMBER.folder))
            await self._handed_on.start()
        await self._listen(application)
        self._announcing = asyncio.create_task(self._announce(application, address))

    async def _until_ready(self, application: Application) -> None:
        """Leaves the port to the other processes for some time, until this one is ready."""
        readiness = application.readiness
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                while not (readiness.ready or application.calls.draining):
                    await readiness.until_change()

    async def _listen(self, application: Application) -> None:
        self._grpc = self._grpc_server(application)
        await self._grpc.start()
        if CERTIFICATES is not None:
            CERTIFICATES.follow(application.metrics)
        backend.attach(
            application.handlers,
            application.calls,
            application.authentication,
            application.quotas,
            application.readiness,
        )

    def _grpc_server(self, application: Application, socket: str = "") -> GrpcServer:
        """Returns the server of the port, or that of calls which other members hand on."""
        handed_on = application.links if socket else None
        return GrpcServer(
            socket or join_address(SETTINGS.host, SETTINGS.grpc_port),
            OF_THE_SERVER,
            application.handlers,
            application.calls if handed_on is None else handed_on.calls,
            application.authentication if handed_on is None else handed_on.others,
            application.readiness,
            LIMITS,
            RECEIVING,
            CERTIFICATES,
            shares_port=MEMBER is not None,
        )

    def _begin_stop(self, number: int, pass_on: Callable[[], None]) -> None:
        """Lets requests end before whoever serves REST learns of the signal and closes its port."""
        if self._stopping is None:
            log.info("stopping", drain_seconds=SETTINGS.drain_seconds)
            self._stopping = asyncio.create_task(self._finish_requests(pass_on))
        elif number == signal.SIGINT and self._application is not None:
            self._application.drop_requests()  # somebody pressed Ctrl-C again

    async def _finish_requests(self, pass_on: Callable[[], None]) -> None:
        try:
            if self._application is not None:
                await self._application.finish_requests()
        finally:
            if self._grpc is not None:
                self._closing_grpc = asyncio.create_task(self._grpc.close())
            pass_on()

    async def _load(self, application: Application, rest: supervision.Address) -> None:
        with supervision.giving_up_on_errors():
            await application.start()
        self._announcing = asyncio.create_task(self._announce(application, rest))

    async def _announce(self, application: Application, rest: supervision.Address) -> None:
        """Prints the addresses once both answer, then starts what the first training needs."""
        assert self._grpc is not None
        if not application.readiness.ready:
            log.info("waiting until the backbones answer", extractor=SETTINGS.extractor)
        await application.readiness.until_ready()
        if not supervision.supervised():
            await backend.listening.wait()
        scheme = "http" if CERTIFICATES is None else "https"
        addresses = {
            "grpc": self._grpc.address,
            "rest": f"{scheme}://{join_address(rest.host, rest.port)}",
        }
        log.info("serving", **addresses)
        print(json.dumps(addresses), flush=True)
        await _warm_up(application)


async def _warm_up(application: Application) -> None:
    try:
        await application.warm_up()
    except FitterDied as error:  # the first training tries again, and says it if it fails, too
        log.warning("the training process did not start", exc_info=error)


def _request() -> Request:
    # BentoML's own is in a context that timers keep; the body must not stay in it.
    request = SERVICE.context.request
    return Request(request.scope, request.receive)


# The decorator above made a bentoml.Service of the class, which type checkers do not see.
SERVICE = cast("bentoml.Service[Any]", Trunkline)
SERVICE.add_asgi_middleware(LastAnswers, backend=backend)
SERVICE.add_asgi_middleware(
    RestGuard,
    max_body_bytes=int(SETTINGS.max_message_bytes * JSON_OVERHEAD),
    budget=RECEIVING,
    backend=backend,
    loopback_only=SETTINGS.loopback_only,
    allowed_origins=SETTINGS.allowed_origins,
)
