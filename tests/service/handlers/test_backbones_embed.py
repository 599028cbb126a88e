"""Embedding for its own sake: what is told of all rows together."""

from __future__ import annotations

from models import InputLimits
from service.handlers.backbones import Extraction
from service.requests.calls import Call
from tests.service.embedding.resolvers import made
from tests.service.hand_extractor import HandExtractor
from tests.service.server import texts
from trunkline.v1 import extraction_pb2

CALL = Call("Embed", "grpc", "acme", None)


async def test_times_of_a_request_are_those_of_its_slowest_row() -> None:
    extractor = HandExtractor()
    extraction = Extraction(extractor, made(extractor), InputLimits(), max_rows=10)

    async def timing(*rows: str) -> tuple[float, float, float]:
        request = extraction_pb2.EmbedRequest(tenant="tenants/acme", inputs=texts(*rows))
        told = (await extraction.embed(request, CALL)).timing
        return told.decode_seconds, told.queue_seconds, told.backbone_seconds

    assert await timing("known") == (0.1, 0.2, 0.3)
    assert await timing("known") == (0, 0, 0)
    assert await timing("known", "new", "known") == (0.1, 0.2, 0.3)
