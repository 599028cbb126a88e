"""An extraction server whose backbone is not the one that it listed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from service.embedding.resolved import Resolved
from service.embedding.resolver import EmbeddingResolver
from service.errors import Unavailable
from service.extraction import Extracted
from service.extraction.remote import RemoteExtractor
from service.extraction.remote_connection import SERVICE
from service.metrics import Metrics
from service.requests.tensors import to_tensor
from tests.service.tiny_backbone import DIM, FINGERPRINT, info, text_input, vector_of
from trunkline.v1 import extraction_pb2, extraction_pb2_grpc, tails_pb2, tails_pb2_grpc

OTHER = "0" * 64


class Far(extraction_pb2_grpc.ExtractionServiceServicer, tails_pb2_grpc.TailServiceServicer):
    """Lists one backbone, and answers with that fingerprint or another."""

    def __init__(self) -> None:
        self.fingerprint = FINGERPRINT
        self.asked: list[list[str]] = []
        self.truncated: list[int] = []

    async def WatchBackbones(
        self, request: tails_pb2.WatchBackbonesRequest, context: Any
    ) -> AsyncIterator[tails_pb2.WatchBackbonesResponse]:
        listed = extraction_pb2.Backbone(
            name="tiny/text", modality="text", dim=DIM, fingerprint=FINGERPRINT, ready=True
        )
        yield tails_pb2.WatchBackbonesResponse(backbones=[listed])
        await asyncio.Event().wait()

    async def Embed(
        self, request: extraction_pb2.EmbedRequest, context: Any
    ) -> extraction_pb2.EmbedResponse:
        self.asked.append([row.text for row in request.inputs])
        return extraction_pb2.EmbedResponse(
            fingerprint=self.fingerprint,
            embeddings=to_tensor(self.vector(request.inputs[0].text)[None]),
            truncated=self.truncated,
        )

    async def ComputeActivations(
        self, request: tails_pb2.ComputeActivationsRequest, context: Any
    ) -> tails_pb2.ComputeActivationsResponse:
        rows = [to_tensor(self.vector(row.text).astype("float16")) for row in request.inputs]
        return tails_pb2.ComputeActivationsResponse(fingerprint=self.fingerprint, activations=rows)

    async def ListBackbones(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def HoldTail(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def EmbedWithTail(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def vector(self, text: str) -> Any:
        """Another backbone makes something else of a text."""
        return vector_of(text) if self.fingerprint == FINGERPRINT else -vector_of(text)


@pytest.fixture
async def far() -> AsyncIterator[tuple[Far, RemoteExtractor]]:
    """The server, and what uses it and has heard from it."""
    there = Far()
    server = grpc.aio.server()
    extraction_pb2_grpc.add_ExtractionServiceServicer_to_server(there, server)
    tails_pb2_grpc.add_TailServiceServicer_to_server(there, server)
    states = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    await states.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    remote = RemoteExtractor(f"127.0.0.1:{port}", max_message_bytes=1 << 20, timeout_seconds=60)
    ready = asyncio.Event()
    await remote.start(lambda is_ready: ready.set())
    await ready.wait()
    yield there, remote
    await remote.close()
    await server.stop(None)


async def test_embeddings_of_a_changed_backbone_are_refused_and_not_kept(
    far: tuple[Far, RemoteExtractor],
) -> None:
    there, remote = far
    embeddings = EmbeddingResolver(remote, None, 1 << 20, Metrics(5))
    there.fingerprint = OTHER
    with pytest.raises(Unavailable, match="has changed") as caught:
        await embeddings.resolve("acme", info(), [text_input("a")])
    assert caught.value.retry_after == 1.0
    there.fingerprint = FINGERPRINT
    for _ in range(2):
        (found,) = await embeddings.resolve("acme", info(), [text_input("a")])
        assert isinstance(found, Resolved)
        assert found.vector.tolist() == vector_of("a").tolist()
    assert there.asked == [["a"], ["a"]]


async def test_activations_of_a_changed_backbone_are_refused(
    far: tuple[Far, RemoteExtractor],
) -> None:
    there, remote = far
    rows = [text_input("a"), text_input("b")]
    assert len(await remote.activations("acme", info(), rows, prepared=False)) == 2
    there.fingerprint = OTHER
    with pytest.raises(Unavailable, match="has changed") as caught:
        await remote.activations("acme", info(), rows, prepared=False)
    assert caught.value.retry_after == 1.0


async def test_rows_that_the_far_backbone_truncated_are_marked(
    far: tuple[Far, RemoteExtractor],
) -> None:
    there, remote = far
    there.truncated = [0]
    (found,) = await remote.embed("acme", info(), [text_input("a")])
    assert isinstance(found, Extracted)
    assert found.truncated
