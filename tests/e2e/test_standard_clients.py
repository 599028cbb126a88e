"""Clients that are not ours: reflection, health, BentoML's client, probes and a metrics scraper."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import bentoml
import grpc
import httpx
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.e2e.conftest import IMAGES, TEXTS
from tests.e2e.metrics import samples
from tests.e2e.processes import Running
from tests.e2e.samples import Labelled
from tests.e2e.transports import Transport, text
from trunkline import Backbone, Client
from trunkline.digest import image_digest

SERVICES = ("ExtractionService", "PredictionService", "HeadService")


@pytest.fixture
def channel(server: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as connected:
        yield connected


def test_generic_client_predicts_with_what_reflection_tells_it(
    channel: grpc.Channel, text_head: str
) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    names = {f"trunkline.v1.{name}" for name in SERVICES}
    assert names | {"grpc.health.v1.Health"} <= set(database.get_services())
    service = DescriptorPool(database).FindServiceByName("trunkline.v1.PredictionService")
    method = service.methods_by_name["Predict"]
    request = ParseDict(
        {"head": text_head, "inputs": [{"text": "what a lovely day"}], "top_k": 1},
        GetMessageClass(method.input_type)(),
    )
    call: Any = channel.unary_unary(
        f"/{service.full_name}/{method.name}", type(request).SerializeToString
    )
    reply = GetMessageClass(method.output_type).FromString(call(request, timeout=30))
    predictions = MessageToDict(reply)["predictions"]
    assert predictions[0]["head"] == text_head
    assert predictions[0]["labels"] == ["negative", "positive"]


@pytest.mark.parametrize("service", ["", *(f"trunkline.v1.{name}" for name in SERVICES)])
def test_every_service_is_healthy(channel: grpc.Channel, service: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_unknown_service_has_no_health(channel: grpc.Channel) -> None:
    request = health_pb2.HealthCheckRequest(service="trunkline.v1.NoService")
    with pytest.raises(grpc.RpcError) as refused:
        health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_answer(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 200


# Libraries under BentoML's client use what others of them deprecate.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bentoml_client_predicts_and_embeds(
    server: Running, text_head: str, image_head: str, photos: Labelled
) -> None:
    encoded = base64.b64encode(photos[0][0]).decode()
    with bentoml.SyncHTTPClient(server.rest) as client:
        reply = client.predict(
            head="shared/sentiment", inputs=[{"text": "so happy today"}, {"text": ""}], top_k=1
        )
        good, bad = reply["predictions"]
        assert set(good["scores"]) == {good["label"]}
        assert good["probability"] == good["scores"][good["label"]]
        assert bad["error"]["code"] == "INVALID_ARGUMENT"
        (row,) = client.predict(head=image_head, inputs=[{"image": encoded}])["predictions"]
        assert row["digest"] == image_digest(photos[0][0])
        embedded = client.embed(tenant="shared", inputs=[{"image": encoded}])
        assert embedded["backbone"] == IMAGES
        assert len(embedded["embeddings"][0]["embedding"]) == 1280
        client._temp_dir.cleanup()  # else it is left to the garbage collector, with a warning


def test_native_endpoint_embeds_on_the_backbone_that_is_named(http: httpx.Client) -> None:
    body = {"tenant": "shared", "inputs": [{"text": "a word"}]}
    (row,) = http.post("/embed", json=body).json()["embeddings"]
    assert len(row["embedding"]) == 384
    reply = http.post("/embed", json=body | {"backbone": IMAGES}).json()
    assert reply["backbone"] == IMAGES
    assert reply["embeddings"][0]["error"]["code"] == "INVALID_ARGUMENT"
    unknown = http.post("/embed", json=body | {"backbone": "no/such"})
    assert (unknown.status_code, unknown.json()["field"]) == (400, "backbone")


def test_native_endpoint_answers_errors_as_problems(
    http: httpx.Client, server: Running, text_head: str
) -> None:
    unknown = http.post("/predict", json={"head": "shared/none", "inputs": [{"text": "x"}]})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "NOT_FOUND")
    assert unknown.json()["request_id"] == unknown.headers["x-request-id"]
    body = {"head": "shared/sentiment", "inputs": [{"image": "not base64!"}]}
    malformed = http.post("/predict", json=body)
    assert (malformed.status_code, malformed.json()["field"]) == (400, "inputs[0].image")
    wrong = {b'{"inputs": "no list"}': "inputs", b"{}": "inputs"}
    for broken in (*wrong, b"{", b"[" * 100_000, b"\xff"):
        response = http.post(
            "/predict", content=broken, headers={"content-type": "application/json"}
        )
        assert response.headers["content-type"] == "application/problem+json"
        assert (response.status_code, response.json()["field"]) == (400, wrong.get(broken, "body"))
        assert "Traceback" not in response.text
        assert response.json()["request_id"] in server.log.read_text()


def test_backbones_are_listed(transport: Transport, backbones: dict[str, Backbone]) -> None:
    from trunkline.v1 import extraction_pb2

    reply = transport.call("ListBackbones", extraction_pb2.ListBackbonesRequest())
    listed = {item.name: item for item in reply.backbones}
    assert set(listed) == {IMAGES, TEXTS} == set(backbones)
    assert (listed[IMAGES].modality, listed[IMAGES].dim) == ("image", 1280)
    assert (listed[TEXTS].modality, listed[TEXTS].dim) == ("text", 384)
    assert all(item.ready and item.engine and item.device for item in listed.values())


def test_metrics_count_both_transports_alike(
    transport: Transport, http: httpx.Client, client: Client, tenant: str
) -> None:
    client.create_head(f"{tenant}/metrics", TEXTS)
    labels = {"method": "Predict", "transport": transport.name, "code": "NOT_FOUND"}
    before = samples(http, "trunkline_requests_total", **labels)
    seconds = samples(
        http, "trunkline_request_seconds_count", method="Predict", transport=transport.name
    )
    for _ in range(3):
        with pytest.raises(Exception, match="NOT_FOUND"):
            transport.predict(f"tenants/{tenant}/heads/none", [text("x")])
    assert samples(http, "trunkline_requests_total", **labels) == before + 3
    after = samples(
        http, "trunkline_request_seconds_count", method="Predict", transport=transport.name
    )
    assert after == seconds + 3


def test_metrics_tell_of_every_phase(
    http: httpx.Client, client: Client, text_head: str, image_head: str
) -> None:
    client.predict("shared/sentiment", ["tell me"])
    client.predict("shared/sentiment", ["tell me"])
    client.feedback("shared/sentiment", [("tell me", "positive")])
    for phase in ("decode", "queue", "backbone", "head"):
        assert samples(http, "trunkline_phase_seconds_count", phase=phase, backbone=TEXTS) > 0
    for name in (
        "trunkline_batch_rows_count",
        "trunkline_embedding_cache_hits_total",
        "trunkline_embedding_cache_misses_total",
        "trunkline_embedding_cache_bytes",
        "trunkline_heads_loaded",
        "trunkline_training_seconds_count",
        "trunkline_trainings_total",
        "trunkline_feedback_total",
        "trunkline_backbone_ready",
    ):
        assert samples(http, name) > 0, name
    assert samples(http, "trunkline_queue_rows") == 0
    text = http.get("/metrics").text
    assert 'le="0.0001"' in text
    assert 'le="10.0"' in text
