"""``/predict`` and ``/embed``, in the form of BentoML's own client: the RPCs with shorter names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Self, cast

import bentoml
from google.protobuf.message import Message
from pydantic import ConfigDict, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from service.transport.answering import answer
from service.transport.backend import Backend
from service.transport.forms import form_of, is_form
from service.transport.json_text import read_object
from service.transport.openapi.server_paths import ROW
from service.transport.problems import METHODS
from service.transport.proto_json import check_names, read_message
from service.transport.rest_bodies import read_form
from trunkline.v1.extraction_pb2 import EmbedRequest
from trunkline.v1.prediction_pb2 import PredictRequest

String = Annotated[Any, WithJsonSchema({"type": "string"})]
Count = Annotated[Any, WithJsonSchema({"type": "integer", "minimum": 0})]
Rows = Annotated[Any, WithJsonSchema({"type": "array", "items": ROW})]


class Body(bentoml.IODescriptor):  # type: ignore[misc]  # BentoML exports it lazily
    """A body that BentoML describes and does not read: errors are the API's own."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> Self:
        """Leaves the body to `predict` and `embed`."""
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


async def predict(backend: Backend, request: Request) -> Response:
    """Answers ``/predict``, where a head may be named ``tenant/head``."""

    def name_head(message: PredictRequest) -> None:
        if not message.head.startswith("tenants/"):
            tenant, _, head = message.head.partition("/")
            message.head = f"tenants/{tenant}/heads/{head}"

    return await _answer(backend, request, "Predict", PredictBody, name_head)


async def embed(backend: Backend, request: Request) -> Response:
    """Answers ``/embed``, where a tenant may be named by its id."""

    def name_tenant(message: EmbedRequest) -> None:
        if "/" not in message.tenant:
            message.tenant = f"tenants/{message.tenant}"

    return await _answer(backend, request, "Embed", EmbedBody, name_tenant)


async def _answer(
    backend: Backend,
    request: Request,
    method: str,
    form: type[Body],
    name_in_full: Callable[[Any], None],
) -> Response:
    async def read() -> Message:
        message_class, names = METHODS[method].request, list(form.model_fields)
        if is_form(request):
            async with form_of(request) as parts:
                check_names(dict(parts), ["image", "text", *names], form.__name__)
                message = await read_form(message_class, parts, {})
        else:
            given = read_object(await request.body(), backend.max_parts)
            check_names(given, names, form.__name__)
            message = read_message(message_class, given)
        name_in_full(message)
        return message

    return await answer(backend, method, read, request)
