"""OpenAI's API: embeddings, and the backbones that make them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.access.caller import Caller
from service.errors import InvalidRequest, NotFound
from service.requests.call import Call
from service.requests.tensors import from_tensor
from service.transport.answering import ask, received, respond
from service.transport.backend import CALLER, Backend
from service.transport.foreign.names import tenant_of_caller
from service.transport.json_text import read_object
from service.transport.proto_json import check_names
from service.transport.protocols.failed_rows import refuse_failed
from trunkline.v1 import common_pb2, extraction_pb2

FIELDS = ("input", "model", "encoding_format", "dimensions", "user")
_FORMATS = ("float", "base64")
_OWNER = "trunkline"


class OpenAI:
    """Answers ``/v1/embeddings`` and ``/v1/models``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[Route]:
        """Returns the routes."""
        return [
            Route("/v1/embeddings", self._embed, methods=["POST"]),
            Route("/v1/models", self._list),
            Route("/v1/models/{model:path}", self._get),
        ]

    async def _embed(self, request: Request) -> Response:
        tenant = tenant_of_caller(cast("Caller", request.scope[CALLER]))

        async def work(call: Call) -> Response:
            body = await received(self._backend, request.body, request, call)
            data = read_object(body, self._backend.max_parts)
            check_names(data, FIELDS, "CreateEmbeddingRequest")
            message = _question(data, tenant)
            reply: Any = await ask(self._backend, "Embed", message, request, call)
            return JSONResponse(_answer(data, cast("extraction_pb2.EmbedResponse", reply)))

        return await respond(self._backend, "Embed", work, request, tenant)

    async def _list(self, request: Request) -> Response:
        async def work(call: Call) -> Response:
            models = [_model(each) for each in await self._backbones(request, call)]
            return JSONResponse({"object": "list", "data": models})

        return await respond(self._backend, "ListBackbones", work, request)

    async def _get(self, request: Request) -> Response:
        async def work(call: Call) -> Response:
            name = request.path_params["model"]
            for backbone in await self._backbones(request, call):
                if backbone.name == name:
                    return JSONResponse(_model(backbone))
            raise NotFound.at("model", "{value!r} is not loaded", "a loaded backbone", name)

        return await respond(self._backend, "ListBackbones", work, request)

    async def _backbones(self, request: Request, call: Call) -> Sequence[Any]:
        message = extraction_pb2.ListBackbonesRequest()
        reply: Any = await ask(self._backend, "ListBackbones", message, request, call)
        return cast("Sequence[Any]", reply.backbones)


def _model(backbone: Any) -> dict[str, Any]:
    return {"id": backbone.name, "object": "model", "created": 0, "owned_by": _OWNER}


def _question(data: dict[str, Any], tenant: str) -> extraction_pb2.EmbedRequest:
    model = data.get("model")
    if not isinstance(model, str) or not model or not model.isascii():
        raise InvalidRequest.at("model", "must be {limit}", "the name of a backbone (/v1/models)")
    if data.get("encoding_format") not in (None, *_FORMATS):
        raise InvalidRequest.at("encoding_format", "must be {limit}", " or ".join(_FORMATS))
    dimensions = data.get("dimensions")
    if dimensions is not None and type(dimensions) is not int:
        raise InvalidRequest.at("dimensions", "must be {limit}", "a whole number")
    inputs = [
        common_pb2.Input(text_utf8=text.encode("utf-8", "surrogatepass")) for text in _texts(data)
    ]
    return extraction_pb2.EmbedRequest(tenant=tenant, backbone=model, inputs=inputs)


def _texts(data: dict[str, Any]) -> list[str]:
    given = data.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise InvalidRequest.at("input", "must be {limit}", "a text, or a list of texts")
    for row, text in enumerate(texts):
        if isinstance(text, (int, list)):
            raise InvalidRequest(
                f"input[{row}]: must be text, not tokens, of another tokenizer: in LangChain, "
                "set check_embedding_ctx_length=False",
                field=f"input[{row}]",
                limit="a text",
                value="tokens",
            )
        if not isinstance(text, str):
            raise InvalidRequest.at(f"input[{row}]", "must be {limit}", "a text")
    return texts


def _answer(data: dict[str, Any], reply: extraction_pb2.EmbedResponse) -> dict[str, Any]:
    refuse_failed(reply.errors, "input")
    vectors = from_tensor(reply.embeddings, field="reply", dtypes=("float32",))
    dimensions = data.get("dimensions")
    if dimensions is not None and dimensions != vectors.shape[1]:
        raise InvalidRequest.at(
            "dimensions", "must be {limit}, as this backbone has, is {value}",
            vectors.shape[1], dimensions,
        )  # fmt: skip
    packed = data.get("encoding_format") == "base64"
    written: Sequence[Any] = (
        [base64.b64encode(vector.tobytes()).decode() for vector in vectors.astype("<f4")]
        if packed
        else vectors.tolist()
    )
    rows = [
        {"object": "embedding", "index": row, "embedding": embedding}
        for row, embedding in enumerate(written)
    ]
    return {
        "object": "list",
        "data": rows,
        "model": reply.backbone,
        # Tokens are not counted here; clients read the numbers, which must be there.
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
        "truncated": list(reply.truncated),
    }
