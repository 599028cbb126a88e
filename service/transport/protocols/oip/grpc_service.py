"""The Open Inference Protocol over gRPC, beside the API's own services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc

from service.requests.call import Call
from service.requests.calls import Handler
from service.transport.foreign.names import head_in, read_model, tenant_of_caller
from service.transport.grpc_calls import Translator
from service.transport.grpc_errors import Context
from service.transport.methods import Method
from service.transport.protocols.oip.asking import embedding_of, prediction_of, read_rows
from service.transport.protocols.oip.grpc_requests import read_inference, write_inference
from service.transport.protocols.oip.messages import SERVICE, message_class
from service.transport.protocols.oip.models import (
    EXTENSIONS,
    PLATFORM,
    Ask,
    Described,
    described,
    first_page,
    listed,
    question_of,
)
from service.transport.protocols.oip.telling import embedded, predicted
from service.transport.readiness import Readiness
from trunkline.version import __version__

Serve = Callable[[bytes, Context], Awaitable[bytes]]


class InferenceService:
    """Answers ``inference.GRPCInferenceService`` with the handlers of our own RPCs.

    Args:
        methods: our RPCs by their names, whose rules, metrics and log lines the calls have.
        max_parts: elements that an input may have.
    """

    def __init__(
        self,
        translator: Translator,
        methods: Mapping[str, Method],
        handlers: Mapping[str, Handler],
        readiness: Readiness,
        max_parts: int,
    ) -> None:
        self._translator = translator
        self._methods, self._handlers = methods, handlers
        self._readiness = readiness
        self._max_parts = max_parts

    def generic_handler(self) -> grpc.GenericRpcHandler:
        """Returns what a server registers."""
        served: dict[str, Serve] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "RepositoryIndex": self._repository_index,
        }
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            name: grpc.unary_unary_rpc_method_handler(serve) for name, serve in served.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _server_live(self, data: bytes, context: Context) -> bytes:
        return _packed("ServerLiveResponse", live=True)

    async def _server_ready(self, data: bytes, context: Context) -> bytes:
        return _packed("ServerReadyResponse", ready=self._readiness.ready)

    async def _server_metadata(self, data: bytes, context: Context) -> bytes:
        async with self._translator.call(self._methods["ListBackbones"], context):
            self._parse("ServerMetadataRequest", data)
            return _packed(
                "ServerMetadataResponse",
                name=PLATFORM,
                version=__version__,
                extensions=EXTENSIONS,
            )

    async def _model_ready(self, data: bytes, context: Context) -> bytes:
        request = self._parse("ModelReadyRequest", data)
        found = await self._describe(request, context)
        return _packed("ModelReadyResponse", ready=found.ready)

    async def _model_metadata(self, data: bytes, context: Context) -> bytes:
        request = self._parse("ModelMetadataRequest", data)
        found = await self._describe(request, context)
        reply = message_class("ModelMetadataResponse")(
            name=found.name, versions=found.versions, platform=PLATFORM
        )
        for tensors, fields in ((reply.inputs, found.inputs), (reply.outputs, found.outputs)):
            for name, datatype, shape in fields:
                tensors.add(name=name, datatype=datatype, shape=shape)
        packed: bytes = reply.SerializeToString()
        return packed

    async def _describe(self, request: Any, context: Context) -> Described:
        model = read_model(request.name, request.version)
        method = self._methods["GetHead" if model.head else "ListBackbones"]
        async with self._translator.call(method, context) as call:
            reply = await self._ask(method, question_of(model), call)
            return await described(model, reply, self._within(call))

    async def _repository_index(self, data: bytes, context: Context) -> bytes:
        request = self._parse("RepositoryIndexRequest", data)
        method = self._methods["ListHeads"]
        reply = message_class("RepositoryIndexResponse")()
        async with self._translator.call(method, context) as call:
            page = await self._ask(method, first_page(call.caller), call)
            for model in await listed(call.caller, page, self._within(call)):
                if model.ready or not request.ready:
                    state = "READY" if model.ready else "UNAVAILABLE"
                    reply.models.add(name=model.name, version=model.version, state=state)
        packed: bytes = reply.SerializeToString()
        return packed

    async def _model_infer(self, data: bytes, context: Context) -> bytes:
        request = self._parse("ModelInferRequest", data)
        method = self._methods["Predict" if head_in(request.model_name) else "Embed"]
        async with self._translator.call(method, context) as call:
            model = read_model(request.model_name, request.model_version)
            inference = read_inference(request)
            rows = read_rows(inference, self._max_parts)
            version = "1"
            if model.head:
                reply = await self._ask(method, prediction_of(model, rows), call)
                version = str(reply.predictions[0].version)
                outputs = predicted(reply, rows.faults, inference.wanted)
            else:
                tenant = tenant_of_caller(call.caller)
                reply = await self._ask(method, embedding_of(model, rows, tenant), call)
                outputs = embedded(reply, rows.faults, inference.wanted)
            response = write_inference(model.name, version, inference, outputs)
            packed: bytes = response.SerializeToString()
            return packed

    async def _ask(self, method: Method, message: Any, call: Call) -> Any:
        return await self._translator.ask(method, self._handlers[method.name], message, call)

    def _within(self, call: Call) -> Ask:
        async def within(method: str, message: Any) -> Any:
            return await self._handlers[method](message, call)

        return within

    def _parse(self, name: str, data: bytes) -> Any:
        return self._translator.parse(message_class(name), data)


def _packed(kind: str, /, **fields: Any) -> bytes:
    packed: bytes = message_class(kind)(**fields).SerializeToString()
    return packed
