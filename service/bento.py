"""The BentoML service: REST, metrics and probes, with gRPC in the same process.

``trunkline serve`` and ``bentoml serve`` both run this; settings come from the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from typing import Annotated, Any, Self, cast

import bentoml
from google.protobuf.message import Message
from prometheus_client import generate_latest
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service import supervision, supervisor_endpoints
from service.addresses import join_address
from service.application import Application
from service.config import JSON_OVERHEAD, ServerSettings, load_settings
from service.errors import FitterDied, InvalidRequest
from service.logs import configure_logging, get_logger
from service.process_limits import (
    MemoryReturn,
    connections_within,
    limit_accept_log,
    raise_file_limit,
)
from service.transport.forms import form_of, is_form
from service.transport.grpc_server import GrpcServer
from service.transport.http_connections import connection_class
from service.transport.json_text import read_object
from service.transport.last_answers import LastAnswers
from service.transport.limits import TransportLimits
from service.transport.methods import OF_THE_SERVER
from service.transport.proto_json import check_names, read_message
from service.transport.ready_detail import ReadyDetail
from service.transport.receiving import ReceivingBudget
from service.transport.request_timers import remove_request_timers
from service.transport.rest import Answered, Backend, answer, refuse, rest_app
from service.transport.rest_bodies import read_form
from service.transport.rest_guard import RestGuard
from trunkline.v1 import extraction_pb2, prediction_pb2

SETTINGS = load_settings(ServerSettings)

log = get_logger(__name__)
configure_logging(SETTINGS.log_level, SETTINGS.log_format)
supervisor_endpoints.keep_private()
LIMITS = TransportLimits.of(
    SETTINGS, connections_within(raise_file_limit(), SETTINGS.max_connections)
)
backend = Backend(LIMITS.max_parts)
RECEIVING = ReceivingBudget(
    SETTINGS.max_receiving_bytes, SETTINGS.body_timeout_seconds, MemoryReturn().after
)
supervision.bound_connections(connection_class(LIMITS))
remove_request_timers()


class Row(BaseModel):
    """One input: an image in base64, a text, or the digest of something sent before."""

    image: str | None = Field(None, description="Encoded image (JPEG, PNG, WebP, …) in base64.")
    text: str | None = Field(None, description="Text.")
    digest: str | None = Field(None, description="Digest of an input sent before.")


String = Annotated[Any, WithJsonSchema({"type": "string"})]
Count = Annotated[Any, WithJsonSchema({"type": "integer", "minimum": 0})]
Rows = Annotated[Any, WithJsonSchema({"type": "array", "items": Row.model_json_schema()})]


class Body(bentoml.IODescriptor):  # type: ignore[misc]  # BentoML exports it lazily
    """A body that BentoML describes and does not read: errors are the API's own."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> Self:
        """Leaves the body to `_native`."""
        return cast("Self", cls.model_construct(**dict.fromkeys(cls.model_fields)))


class PredictBody(Body):
    """What ``/predict`` takes."""

    head: String
    inputs: Rows
    top_k: Count = 0


class EmbedBody(Body):
    """What ``/embed`` takes."""

    tenant: String
    inputs: Rows
    backbone: String = ""


@bentoml.service(
    name="trunkline",
    workers=SETTINGS.workers,
    http={"host": SETTINGS.host, "port": SETTINGS.rest_port or 3000},
    traffic={"timeout": 86_400},  # deadlines are the application's own
    metrics={"enabled": True},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(rest_app(backend), path="/")
class Trunkline:
    """One frozen backbone, a head for every tenant."""

    def __init__(self) -> None:
        self._application: Application | None = None
        self._grpc: GrpcServer | None = None
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
            if self._announcing is None:
                log.info("stopped")
                os._exit(0)  # nothing is acknowledged yet, and loading cannot be interrupted
            self._announcing.cancel()
            await asyncio.wait([self._announcing])
            await self._application.close()
        except Exception:
            log.exception("stopped, but not cleanly")
            os._exit(1)  # the interpreter would wait for threads that may hang
        log.info("stopped")

    @bentoml.api(route="/predict", input_spec=PredictBody)
    async def predict(self, **_: Any) -> dict[str, Any]:
        """Classify inputs with a head, named ``tenant/head`` or ``tenants/…/heads/…``."""
        reply: dict[str, Any] = await _native(
            "Predict", prediction_pb2.PredictRequest, PredictBody, "head", _head_name
        )
        return reply

    @bentoml.api(route="/embed", input_spec=EmbedBody)
    async def embed(self, **_: Any) -> dict[str, Any]:
        """Embed inputs with a backbone, by default that of their modality."""
        reply: dict[str, Any] = await _native(
            "Embed", extraction_pb2.EmbedRequest, EmbedBody, "tenant", _tenant_name
        )
        return reply

    async def __is_ready__(self) -> bool:
        """Answers ``/readyz``.

        Raises:
            HTTPException: it is not, with the reasons; BentoML's own words would give none.
        """
        if self._application is None:
            return False
        if reasons := self._application.readiness.reasons:
            raise HTTPException(503, f"not ready: {'; '.join(reasons)}")
        return True

    async def __metrics__(self, others: str) -> str:
        """Answers ``/metrics``: BentoML's own and ours.

        Under BentoML's supervisor metrics are written to files as well, which other servers of
        this machine write, too: ours are taken from memory alone.
        """
        lines = [line for line in others.splitlines() if "trunkline_" not in line]
        if self._application is not None:
            lines.append(generate_latest(self._application.metrics.registry).decode())
        return "\n".join(lines)

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        supervision.on_signals(
            lambda number, pass_on: loop.call_soon_threadsafe(self._begin_stop, number, pass_on),
            SETTINGS.drain_seconds + supervision.CLOSE_SECONDS,
        )
        address = supervision.rest_address(SETTINGS)
        supervision.check_workers()
        supervision.exit_with_parent()
        limit_accept_log(asyncio.get_running_loop())
        application = self._application = Application(SETTINGS)
        self._grpc = GrpcServer(
            join_address(SETTINGS.host, SETTINGS.grpc_port),
            OF_THE_SERVER,
            application.handlers,
            application.calls,
            application.readiness,
            LIMITS,
            RECEIVING,
        )
        await self._grpc.start()
        backend.attach(application.handlers, application.calls)
        backend.detail = lambda: application.readiness.detail()
        # Probes are answered, with "not ready", while the backbones are loaded.
        self._loading = asyncio.create_task(self._load(application, address))

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
        await self._grpc.serving.wait()
        if not supervision.supervised():
            await backend.listening.wait()
        addresses = {
            "grpc": join_address(SETTINGS.host, self._grpc.port),
            "rest": f"http://{join_address(rest.host, rest.port)}",
        }
        log.info("serving", **addresses)
        print(json.dumps(addresses), flush=True)
        await _warm_up(application)


async def _warm_up(application: Application) -> None:
    try:
        await application.warm_up()
    except FitterDied as error:  # the first training tries again, and says it if it fails, too
        log.warning("the training process did not start", exc_info=error)


async def _native(
    method: str,
    request_class: type[Message],
    form: type[Body],
    resource: str,
    full_name: Callable[[str], str],
) -> Any:
    """Answers a native endpoint; BentoML passes a response on as it is.

    Args:
        form: the fields that the body may have.
        resource: the one of them that may have the short form of a name.
    """
    # BentoML's own request is in a context that timers keep; the body must not stay in it.
    request = Request(SERVICE.context.request.scope, SERVICE.context.request.receive)

    async def read() -> Message:
        names = list(form.model_fields)
        if is_form(request):
            async with form_of(request) as parts:
                check_names(dict(parts), ["image", "text", *names], form.__name__)
                message = await read_form(request_class, parts, {})
        else:
            given = read_object(await request.body(), backend.max_parts)
            check_names(given, names, form.__name__)
            message = read_message(request_class, given)
        setattr(message, resource, full_name(getattr(message, resource)))
        return message

    try:
        return await answer(backend, method, read, request)
    except InvalidRequest as error:
        return refuse(error, request.scope)
    except Answered as answered:
        return answered.response


def _head_name(head: str) -> str:
    if head.startswith("tenants/"):
        return head
    tenant, _, name = head.partition("/")
    return f"tenants/{tenant}/heads/{name}"


def _tenant_name(tenant: str) -> str:
    return tenant if "/" in tenant else f"tenants/{tenant}"


# The decorator above made a bentoml.Service of the class, which type checkers do not see.
SERVICE = cast("bentoml.Service[Any]", Trunkline)
SERVICE.add_asgi_middleware(LastAnswers, backend=backend)
SERVICE.add_asgi_middleware(
    RestGuard,
    max_body_bytes=int(SETTINGS.max_message_bytes * JSON_OVERHEAD),
    budget=RECEIVING,
    loopback_only=not SETTINGS.insecure,
    allowed_origins=SETTINGS.allowed_origins,
)
SERVICE.add_asgi_middleware(ReadyDetail, detail=lambda: backend.detail())
