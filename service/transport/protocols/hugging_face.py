"""What Hugging Face's ``InferenceClient`` asks of a URL: classification and feature extraction."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.access.caller import Caller
from service.errors import InvalidRequest
from service.requests.call import Call
from service.requests.tensors import from_tensor
from service.transport.answering import ask, received, respond
from service.transport.backend import CALLER, Backend
from service.transport.base64_text import read_base64
from service.transport.foreign.names import Model, head_in, read_model, tenant_of_caller
from service.transport.foreign.paths import hugging_face_model
from service.transport.json_text import read_object
from service.transport.proto_json import check_names
from service.transport.protocols.failed_rows import refuse_failed
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2, prediction_pb2

FIELDS = ("inputs", "parameters", "truncate")
PARAMETERS = ("top_k", "function_to_apply")
MAX_TOP_K = 100_000


class _Asked(NamedTuple):
    """A request's rows.

    Attributes:
        single: whether the answer is that of one input, not a list of answers.
    """

    inputs: list[common_pb2.Input]
    single: bool
    top_k: int


class HuggingFace:
    """Answers ``/hf/TENANT/HEAD`` and ``/hf/backbones/FAMILY/VARIANT``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[Route]:
        """Returns the routes."""
        return [Route("/hf/{path:path}", self._answer, methods=["POST"])]

    async def _answer(self, request: Request) -> Response:
        name = hugging_face_model(request.scope["path"])
        if not name:
            raise HTTPException(404)
        head, tenant = head_in(name), tenant_of_caller(cast("Caller", request.scope[CALLER]))

        async def work(call: Call) -> Response:
            model = read_model(name)
            body = await received(self._backend, request.body, request, call)
            asked = await self._read(body, request, model, call)
            if model.head:
                return await self._classified(model, asked, request, call)
            message = extraction_pb2.EmbedRequest(
                tenant=tenant, backbone=model.backbone, inputs=asked.inputs
            )
            reply: Any = await ask(self._backend, "Embed", message, request, call)
            refuse_failed(reply.errors, "inputs")
            vectors = from_tensor(reply.embeddings, field="reply", dtypes=("float32",))
            return JSONResponse(vectors.tolist())

        rpc = "Predict" if head else "Embed"
        return await respond(self._backend, rpc, work, request, head or tenant)

    async def _classified(
        self, model: Model, asked: _Asked, request: Request, call: Call
    ) -> Response:
        message = prediction_pb2.PredictRequest(
            head=model.head, inputs=asked.inputs, top_k=asked.top_k
        )
        reply: Any = await ask(self._backend, "Predict", message, request, call)
        refuse_failed(reply.errors, "inputs")
        rows = _ranked(cast("prediction_pb2.PredictResponse", reply))
        return JSONResponse(rows[0] if asked.single else rows)

    async def _read(self, body: bytes, request: Request, model: Model, call: Call) -> _Asked:
        content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if content_type != "application/json":
            return _Asked([common_pb2.Input(image=body)], True, 0)
        data = read_object(body, self._backend.max_parts)
        check_names(data, FIELDS, "an inference request")
        if data.get("truncate", True) is not True:
            raise InvalidRequest.at("truncate", "must be {limit}", "true")
        parameters = data.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise InvalidRequest.at("parameters", "must be {limit}", "an object")
        check_names(parameters, PARAMETERS, "parameters")
        if parameters.get("function_to_apply") not in (None, "softmax"):
            raise InvalidRequest.at("parameters.function_to_apply", "must be {limit}", "softmax")
        top_k = parameters.get("top_k") or 0
        if type(top_k) is not int or not 0 <= top_k <= MAX_TOP_K:
            raise InvalidRequest.at(
                "parameters.top_k", "must be {limit}", f"a number up to {MAX_TOP_K}"
            )
        given = data.get("inputs")
        texts: list[Any] = given if isinstance(given, list) else [given]
        if not all(isinstance(text, str) for text in texts):
            raise InvalidRequest.at("inputs", "must be {limit}", "a string, or a list of strings")
        if await self._takes_images(model, call):
            images = [
                common_pb2.Input(image=read_base64(text, f"inputs[{row}]"))
                for row, text in enumerate(texts)
            ]
            return _Asked(images, texts is not given, top_k)
        inputs = [
            common_pb2.Input(text_utf8=text.encode("utf-8", "surrogatepass")) for text in texts
        ]
        return _Asked(inputs, False, top_k)

    async def _takes_images(self, model: Model, call: Call) -> bool:
        handlers, backbone = self._backend.handlers, model.backbone
        if model.head:
            found = await handlers["GetHead"](heads_pb2.GetHeadRequest(name=model.head), call)
            backbone = found.head.backbone
        loaded = await handlers["ListBackbones"](extraction_pb2.ListBackbonesRequest(), call)
        return any(each.modality == "image" for each in loaded.backbones if each.name == backbone)


def _ranked(reply: prediction_pb2.PredictResponse) -> list[list[dict[str, Any]]]:
    """Returns the classes of each row, best first; none where the head gives no answer."""
    (group,) = reply.predictions
    rows: list[list[dict[str, Any]]] = [[] for _ in reply.digests]
    indices = from_tensor(group.indices, field="reply", dtypes=("uint32",)).tolist()
    scores = from_tensor(group.probabilities, field="reply", dtypes=("float32",)).tolist()
    for place, row in enumerate(group.rows):
        if not (group.abstains and group.novel[place]):
            rows[row] = [
                {"label": group.labels[index], "score": score}
                for index, score in zip(indices[place], scores[place], strict=True)
            ]
    return rows
