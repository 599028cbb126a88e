"""Who may change what a server runs, and what embedding says of all rows together."""

from __future__ import annotations

import pytest

from models import InputLimits
from service.access.caller import ANYONE
from service.concurrency.tasks import UninterruptedTasks
from service.errors import InvalidRequest, PermissionDenied
from service.handlers.backbones import Admin, Extraction
from service.requests.call import Call
from tests.service.embedding.resolvers import made
from tests.service.hand_extractor import HandExtractor
from tests.service.server import texts
from trunkline.v1 import admin_pb2, extraction_pb2


async def test_callers_on_other_machines_are_refused() -> None:
    admin = Admin(HandExtractor(), UninterruptedTasks())
    call = Call("LoadBackbone", "grpc", "", None, caller=ANYONE, local=False)
    with pytest.raises(PermissionDenied, match="own machine"):
        await admin.load_backbone(admin_pb2.LoadBackboneRequest(name="tiny/text"), call)
    with pytest.raises(PermissionDenied):
        await admin.unload_backbone(admin_pb2.UnloadBackboneRequest(name="tiny/text"), call)


async def test_empty_name_is_refused_by_field() -> None:
    call = Call("LoadBackbone", "grpc", "", None, caller=ANYONE, local=True)
    with pytest.raises(InvalidRequest) as caught:
        await Admin(HandExtractor(), UninterruptedTasks()).load_backbone(
            admin_pb2.LoadBackboneRequest(), call
        )
    assert caught.value.field == "name"


async def test_times_of_a_request_are_those_of_its_slowest_row() -> None:
    extractor, call = HandExtractor(), Call("Embed", "grpc", "acme", None, caller=ANYONE)
    extraction = Extraction(extractor, made(extractor), InputLimits(), 10)

    async def timing(*rows: str) -> tuple[float, float, float]:
        request = extraction_pb2.EmbedRequest(tenant="tenants/acme", inputs=texts(*rows))
        told = (await extraction.embed(request, call)).timing
        return told.decode_seconds, told.queue_seconds, told.backbone_seconds

    assert await timing("known") == (0.1, 0.2, 0.3)
    assert await timing("known") == (0, 0, 0)
    assert await timing("known", "new", "known") == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(("reply_bytes", "fits"), [(6000, 5), (None, 10), (2**31, 10)])
async def test_rows_whose_reply_the_client_would_not_take_are_refused_before_any_work(
    reply_bytes: int | None, fits: int
) -> None:
    extractor = HandExtractor()
    extraction = Extraction(extractor, made(extractor), InputLimits(), 10)
    call = Call("Embed", "grpc", "acme", None, caller=ANYONE, reply_bytes=reply_bytes)
    rows = [f"known {row}" for row in range(10)]
    request = extraction_pb2.EmbedRequest(tenant="tenants/acme", inputs=texts(*rows))
    if fits < 10:
        with pytest.raises(InvalidRequest, match="the reply would have some") as caught:
            await extraction.embed(request, call)
        assert (caught.value.field, caught.value.limit, caught.value.value) == ("inputs", fits, 10)
        assert extractor.asked == []
    else:
        assert len((await extraction.embed(request, call)).digests) == 10
