"""The Open Inference Protocol over REST, under ``/v2``."""

from __future__ import annotations

from typing import Any, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.access.caller import Caller
from service.requests.call import Call
from service.transport.answering import ask, received, respond
from service.transport.backend import CALLER, Backend
from service.transport.foreign.names import head_in, read_model, tenant_of_caller
from service.transport.foreign.paths import OIP_HEALTH, model_path
from service.transport.protocols.oip.asking import embedding_of, prediction_of, read_rows
from service.transport.protocols.oip.models import (
    EXTENSIONS,
    PLATFORM,
    Ask,
    Described,
    Field,
    described,
    first_page,
    listed,
    parent_of,
    question_of,
)
from service.transport.protocols.oip.rest_requests import (
    HEADER_LENGTH,
    read_inference,
    write_inference,
)
from service.transport.protocols.oip.telling import embedded, predicted
from trunkline.v1 import extraction_pb2, prediction_pb2
from trunkline.version import __version__

_LIVE, _READY = OIP_HEALTH
_TRITON_TYPES = {"BYTES": "TYPE_STRING", "BOOL": "TYPE_BOOL"}


class OpenInference:
    """Answers what is asked under ``/v2``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[Route]:
        """Returns the routes."""
        return [
            Route("/v2", self._server),
            Route(_LIVE, self._live),
            Route(_READY, self._ready),
            Route("/v2/models", self._models),
            Route("/v2/repository/index", self._index, methods=["POST"]),
            Route("/v2/models/{path:path}", self._model),
            Route("/v2/models/{path:path}", self._infer, methods=["POST"]),
        ]

    async def _live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, request: Request) -> Response:
        ready = self._backend.ready
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def _server(self, request: Request) -> Response:
        async def work(call: Call) -> Response:
            return JSONResponse(
                {"name": PLATFORM, "version": __version__, "extensions": EXTENSIONS}
            )

        return await respond(self._backend, "ListBackbones", work, request)

    async def _models(self, request: Request) -> Response:
        async def work(call: Call) -> Response:
            page = await ask(self._backend, "ListHeads", first_page(call.caller), request, call)
            models = await listed(call.caller, page, self._within(call))
            return JSONResponse({"models": [model.name for model in models]})

        return await respond(self._backend, "ListHeads", work, request, self._parent(request))

    async def _index(self, request: Request) -> Response:
        async def work(call: Call) -> Response:
            await received(self._backend, request.body, request, call)
            page = await ask(self._backend, "ListHeads", first_page(call.caller), request, call)
            models = await listed(call.caller, page, self._within(call))
            states = {True: "READY", False: "UNAVAILABLE"}
            return JSONResponse(
                [
                    {"name": model.name, "version": model.version, "state": states[model.ready]}
                    for model in models
                ]
            )

        return await respond(self._backend, "ListHeads", work, request, self._parent(request))

    async def _model(self, request: Request) -> Response:
        path = model_path(request.scope["path"])
        if path is None or path.asked == "infer":
            raise HTTPException(404)
        head = head_in(path.model)
        rpc = "GetHead" if head else "ListBackbones"

        async def work(call: Call) -> Response:
            model = read_model(path.model, path.version)
            reply = await ask(self._backend, rpc, question_of(model), request, call)
            found = await described(model, reply, self._within(call))
            if path.asked == "ready":
                told = {"name": model.name, "ready": found.ready}
                return JSONResponse(told, 200 if found.ready else 503)
            return JSONResponse(_config(found) if path.asked == "config" else _metadata(found))

        return await respond(self._backend, rpc, work, request, head)

    async def _infer(self, request: Request) -> Response:
        path = model_path(request.scope["path"])
        if path is None or path.asked != "infer":
            raise HTTPException(404)
        head, tenant = head_in(path.model), tenant_of_caller(_caller(request))

        async def work(call: Call) -> Response:
            model = read_model(path.model, path.version)
            body = await received(self._backend, request.body, request, call)
            length = request.headers.get(HEADER_LENGTH)
            inference = read_inference(body, length, self._backend.max_parts)
            rows = read_rows(inference, self._backend.max_parts)
            version = "1"
            if model.head:
                message: Any = prediction_of(model, rows)
                reply: Any = await ask(self._backend, "Predict", message, request, call)
                reply = cast("prediction_pb2.PredictResponse", reply)
                version = str(reply.predictions[0].version)
                outputs = predicted(reply, rows.faults, inference.wanted)
            else:
                message = embedding_of(model, rows, tenant)
                reply = await ask(self._backend, "Embed", message, request, call)
                reply = cast("extraction_pb2.EmbedResponse", reply)
                outputs = embedded(reply, rows.faults, inference.wanted)
            content, header = write_inference(model.name, version, inference, outputs)
            if header is None:
                return Response(content, media_type="application/json")
            headers = {"Inference-Header-Content-Length": str(header)}
            return Response(content, headers=headers, media_type="application/octet-stream")

        rpc = "Predict" if head else "Embed"
        return await respond(self._backend, rpc, work, request, head or tenant)

    def _within(self, call: Call) -> Ask:
        async def within(method: str, message: Any) -> Any:
            return await self._backend.handlers[method](message, call)

        return within

    def _parent(self, request: Request) -> str:
        return parent_of(_caller(request))


def _caller(request: Request) -> Caller:
    return cast("Caller", request.scope[CALLER])


def _metadata(found: Described) -> dict[str, Any]:
    return {
        "name": found.name,
        "versions": found.versions,
        "platform": PLATFORM,
        "inputs": [_tensor(field) for field in found.inputs],
        "outputs": [_tensor(field) for field in found.outputs],
        "parameters": {"backbone": found.backbone, "fingerprint": found.fingerprint},
    }


def _tensor(field: Field) -> dict[str, Any]:
    name, datatype, shape = field
    return {"name": name, "datatype": datatype, "shape": shape}


def _config(found: Described) -> dict[str, Any]:
    """Returns what Triton's tools read of a model's configuration."""
    return {
        "name": found.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "max_batch_size": 0,
        "input": [_configured(field) for field in found.inputs],
        "output": [_configured(field) for field in found.outputs],
    }


def _configured(field: Field) -> dict[str, Any]:
    name, datatype, shape = field
    kind = _TRITON_TYPES.get(datatype, f"TYPE_{datatype}")
    return {"name": name, "data_type": kind, "dims": shape}
