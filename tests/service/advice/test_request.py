"""What is kept of a stream while it is read."""

from __future__ import annotations

import tracemalloc

import pytest

from service.advice.request import AdviceRequest
from service.config import ServerSettings
from trunkline.v1 import advice_pb2, common_pb2

MIB = 2**20
LARGE = bytes(MIB)


@pytest.mark.parametrize(
    ("image", "label", "field"),
    [(LARGE, "", "label"), (LARGE, "red\n", "label"), (b"", "red", "image")],
)
async def test_a_refused_row_holds_nothing_of_its_message(
    image: bytes, label: str, field: str
) -> None:
    request = AdviceRequest(advice_pb2.AdviseRequest(parent="tenants/acme"), ServerSettings())
    tracemalloc.start()
    try:
        for number in range(20):
            rows = [
                advice_pb2.LabelledInput(input=common_pb2.Input(image=image), label=label),
                advice_pb2.LabelledInput(
                    input=common_pb2.Input(image=LARGE), label=f"{number}" * 300
                ),
            ]
            await request.read(advice_pb2.AdviseRequest(examples=rows))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (request.failed, request.seen) == (40, 0)
    assert {getattr(error, "field", "") for error in request.errors.values()} == {field, "label"}
    assert held < 5 * MIB
