"""Extraction servers behind one address, as a proxy shows them that passes no streams on."""

from __future__ import annotations

import random
from typing import Any

import grpc
import numpy as np
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from models.tails import read_tail
from service.requests.tensors import to_tensor
from tests.service.extraction.far_extractor import Far
from tests.service.tiny_backbone import DIM, FINGERPRINT, vector_of
from trunkline.v1 import extraction_pb2, extraction_pb2_grpc, tails_pb2

NAMES = ("EmbedWithTail", "ComputeActivations")


class Proxied(Far):
    """Answers unary calls alone, and knows no health service.

    Calls with tails go to `servers` by lot, each with tails of its own.

    Attributes:
        says: what the proxy answers by itself in place of the servers, if it is set.
        ready: what they say of their backbone.
        files: the tails that were sent, by their fingerprints.
        seconds_left: that calls said they had.
        held: the tails of each server.
    """

    def __init__(self, servers: int = 1) -> None:
        super().__init__()
        self.says: tuple[grpc.StatusCode, str] | None = None
        self.ready = True
        self.files: list[str] = []
        self.seconds_left: list[float] = []
        self.held: list[dict[str, bytes]] = [{} for _ in range(servers)]
        self._lot = random.Random(7)

    def add_to(self, server: grpc.aio.Server) -> None:
        extraction_pb2_grpc.add_ExtractionServiceServicer_to_server(self, server)
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                getattr(self, name),
                request_deserializer=getattr(tails_pb2, f"{name}Request").FromString,
                response_serializer=getattr(tails_pb2, f"{name}Response").SerializeToString,
            )
            for name in NAMES
        }
        service = grpc.method_handlers_generic_handler("trunkline.v1.TailService", handlers)
        server.add_generic_rpc_handlers((service,))

    async def ListBackbones(
        self, request: extraction_pb2.ListBackbonesRequest, context: Any
    ) -> extraction_pb2.ListBackbonesResponse:
        self.checks += 1
        self.changes.notify()
        await self.answers.wait()
        await self._pass(context)
        listed = extraction_pb2.Backbone(
            name="tiny/text",
            modality="text",
            dim=DIM,
            fingerprint=FINGERPRINT,
            engine="torch",
            device="cpu",
            ready=self.ready,
        )
        return extraction_pb2.ListBackbonesResponse(backbones=[listed])

    async def Embed(
        self, request: extraction_pb2.EmbedRequest, context: Any
    ) -> extraction_pb2.EmbedResponse:
        await self._pass(context)
        return await super().Embed(request, context)

    async def EmbedWithTail(
        self, request: tails_pb2.EmbedWithTailRequest, context: Any
    ) -> tails_pb2.EmbedWithTailResponse:
        held = self._lot.choice(self.held)
        if request.file:
            self.files.append(request.tail)
            held[request.tail] = request.file
        if request.tail not in held:
            await refuse(context, grpc.StatusCode.NOT_FOUND, field="tail")
        shift = read_tail(held[request.tail]).tensors["shift"]
        rows = np.stack([vector_of(row.text) for row in request.inputs]) + shift
        return tails_pb2.EmbedWithTailResponse(embeddings=to_tensor(rows.astype(np.float32)))

    async def _pass(self, context: Any) -> None:
        left = dict(context.invocation_metadata()).get("x-seconds-left")
        self.seconds_left += [] if left is None else [float(left)]
        if self.says is not None:
            await context.abort(*self.says)


async def refuse(context: Any, code: grpc.StatusCode, **facts: str) -> None:
    """Answers as an extraction server does, whose errors have facts and a request id."""
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(metadata=facts))
    status = status_pb2.Status(code=code.value[0], message="no", details=[info])
    trailing = (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("x-request-id", "7"),
    )
    await context.abort(code, "no", trailing)
