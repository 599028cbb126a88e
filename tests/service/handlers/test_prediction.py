"""Predictions through the handler: rows, heads, classes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.errors import (
    FingerprintMismatch,
    InvalidRequest,
)
from service.requests.tensors import from_tensor, to_tensor
from tests.service.server import (
    HEAD,
    InProcessServer,
    StartServer,
    import_request,
    texts,
    weights,
)
from tests.service.tiny_backbone import DIM
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, prediction_pb2


async def test_bad_rows_of_a_prediction_fail_alone(server: InProcessServer) -> None:
    await server.ask("ImportHead", import_request())
    inputs = [
        *texts("good", "bad one"),
        common_pb2.Input(),
        common_pb2.Input(digest="0" * 64),
        common_pb2.Input(image=b"png"),
        common_pb2.Input(
            embedding=common_pb2.Embedding(
                fingerprint="0" * 64, vector=to_tensor(np.zeros(DIM, np.float32))
            )
        ),
        common_pb2.Input(digest=text_digest("good")),
    ]
    await server.predict(*texts("good"))
    response = await server.predict(*inputs)
    assert list(response.predictions[0].rows) == [0, 6]
    assert [(error.row, error.code) for error in response.errors] == [
        (1, "INVALID_ARGUMENT"),
        (2, "INVALID_ARGUMENT"),
        (3, "NOT_FOUND"),
        (4, "INVALID_ARGUMENT"),
        (5, "FAILED_PRECONDITION"),
    ]


async def test_rows_of_several_heads_are_answered_by_head(server: InProcessServer) -> None:
    other = "tenants/acme/heads/other"
    await server.ask("ImportHead", import_request())
    await server.ask("ImportHead", import_request(head_id="other", labels=["a", "b"]))
    heads = [other, "", "tenants/acme/heads/missing", "tenants/bolt/heads/x", other]
    response = await server.predict(*texts(*"abcde"), heads=heads)
    assert [(group.head, list(group.rows)) for group in response.predictions] == [
        (other, [0, 4]),
        (HEAD, [1]),
    ]
    assert [(error.row, error.code) for error in response.errors] == [
        (2, "NOT_FOUND"),
        (3, "INVALID_ARGUMENT"),
    ]


async def test_best_classes_come_first_and_no_more_than_asked_for(server: InProcessServer) -> None:
    labels = [f"class-{i}" for i in range(5)]
    await server.ask("ImportHead", import_request(safetensors=weights(labels), labels=labels))
    for top_k, wanted in ((0, 5), (2, 2), (9, 5)):
        (group,) = (await server.predict(*texts("x"), top_k=top_k)).predictions
        indices = from_tensor(group.indices, field="i", dtypes=("uint32",))
        assert indices[0].tolist() == [4, 3, 2, 1, 0][:wanted]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": texts(*"abcde")}, "inputs"),
        ({"inputs": texts("a"), "heads": [HEAD, HEAD]}, "heads"),
        ({"inputs": texts("a"), "heads": [HEAD], "version": 1}, "version"),
    ],
)
async def test_prediction_that_asks_for_the_impossible_is_refused(
    start_server: StartServer, values: dict[str, Any], field: str
) -> None:
    async with start_server(max_rows_per_request=4) as server:
        request = prediction_pb2.PredictRequest(head=HEAD, **values)
        with pytest.raises(InvalidRequest) as caught:
            await server.ask("Predict", request)
        assert caught.value.field == field


async def test_head_of_another_fingerprint_never_meets_an_embedding(
    start_server: StartServer,
) -> None:
    async with start_server() as server:
        await server.ask("ImportHead", import_request())
    async with start_server(fingerprint="0" * 64) as server:
        with pytest.raises(FingerprintMismatch):
            await server.predict(*texts("x"))
        with pytest.raises(FingerprintMismatch):
            await server.add({"x": "a"})


async def test_scores_that_the_client_would_not_take_are_refused_before_any_work(
    server: InProcessServer,
) -> None:
    await server.ask("ImportHead", import_request())
    server.backbone.broken = True  # work would show
    request = prediction_pb2.PredictRequest(head=HEAD, inputs=texts(*map(str, range(100))))
    call = server.call("Predict", request)
    call.reply_bytes = 20_000
    with pytest.raises(InvalidRequest, match="fewer classes") as caught:
        await server.application.handlers["Predict"](request, call)
    assert (caught.value.field, caught.value.value) == ("inputs", 100)
    server.backbone.broken = False
    del request.inputs[int(str(caught.value.limit)) :]
    reply = await server.application.handlers["Predict"](request, call)
    assert reply.ByteSize() <= call.reply_bytes
