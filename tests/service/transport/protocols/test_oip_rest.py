"""The Open Inference Protocol over REST, as its clients write it."""

from __future__ import annotations

import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.transport.protocols.served import asked, predict
from trunkline.v1 import prediction_pb2

ACCEPT, REVIEW = prediction_pb2.DECISION_ACCEPT, prediction_pb2.DECISION_REVIEW
INFER = "/v2/models/acme/textile/infer"
LENGTH = "inference-header-content-length"


def text(values: list[str], **more: Any) -> dict[str, Any]:
    entry = {"name": "text", "shape": [len(values)], "datatype": "BYTES", "data": values}
    return {"inputs": [entry], **more}


def one(**changed: Any) -> dict[str, Any]:
    return {"inputs": [{**text(["fine"])["inputs"][0], **changed}]}


async def post(path: str, **sent: Any) -> httpx.Response:
    async with asked() as client:
        return await client.post(path, **sent)


def outputs(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {output["name"]: output for output in answer.json()["outputs"]}


async def test_failed_row_costs_itself_alone() -> None:
    answer = await post(INFER, json=text(["fine", "fail", "fine"], id="seven"))
    found = outputs(answer)
    assert (answer.json()["id"], answer.json()["model_name"]) == ("seven", "acme/textile")
    assert answer.json()["model_version"] == "3"
    assert found["label"]["data"] == ["torn", "", "torn"]
    assert found["error"]["data"] == ["", "INVALID_ARGUMENT: text: failed", ""]
    assert found["classes"]["data"] == ["good", "bad", "torn"]
    assert found["probabilities"]["shape"] == [3, 3]
    wanted = [0.3, 0.1, 0.6, 0, 0, 0, 0.3, 0.1, 0.6]
    assert np.allclose(found["probabilities"]["data"], wanted)


async def test_decisions_and_descriptions_are_outputs_of_heads_that_have_them() -> None:
    async def decided(request: Any, call: Any) -> Any:
        reply = await predict(request, call)
        reply.predictions[0].decisions.extend([ACCEPT, REVIEW])
        reply.predictions[0].described = True
        return reply

    async with asked(Predict=decided) as client:
        found = outputs(await client.post(INFER, json=text(["fine", "fail", "fine"])))
    assert found["decision"]["data"] == ["accept", "", "review"]
    assert found["described"]["data"] == [True] * 3
    assert not {"decision", "described"} & outputs(await post(INFER, json=text(["fine"]))).keys()


async def test_image_in_json_is_base64_and_a_bad_one_costs_itself() -> None:
    sent = text(["/9j/", "no base64!"])
    sent["inputs"][0]["name"] = "image"
    found = outputs(await post(INFER, json=sent))
    assert found["label"]["data"] == ["torn", ""]
    assert "base64" in found["error"]["data"][1]


async def test_binary_tensors_come_after_the_json_both_ways() -> None:
    blob = b"".join(struct.pack("<I", len(each)) + each for each in (b"fine", b"\xff"))
    entry: dict[str, Any] = {"name": "text", "shape": [2, 1], "datatype": "BYTES"}
    entry["parameters"] = {"binary_data_size": len(blob)}
    wanted = [{"name": "probabilities"}, {"name": "label", "parameters": {"binary_data": False}}]
    head = json.dumps(
        {"inputs": [entry], "outputs": wanted, "parameters": {"binary_data_output": True}}
    ).encode()
    answer = await post(INFER, content=head + blob, headers={LENGTH: str(len(head))})
    size = int(answer.headers[LENGTH])
    told = json.loads(answer.content[:size])["outputs"]
    assert [each["name"] for each in told] == ["probabilities", "label"]
    assert told[1]["data"] == ["torn", "torn"]
    assert told[0]["parameters"]["binary_data_size"] == 24
    assert np.allclose(np.frombuffer(answer.content[size:], "<f4")[:3], [0.3, 0.1, 0.6])


async def test_best_classes_are_written_as_triton_writes_them() -> None:
    wanted = [{"name": "probabilities", "parameters": {"classification": 2}}]
    found = outputs(await post(INFER, json=text(["fine", "fail"], outputs=wanted)))
    assert found["probabilities"]["shape"] == [2, 2]
    assert found["probabilities"]["data"] == ["0.600000:2:torn", "0.300000:0:good", "", ""]


async def test_backbone_is_a_model() -> None:
    found = outputs(await post("/v2/models/backbones/text/one/infer", json=text(["fine"])))
    assert found["embedding"]["shape"] == [1, 4]
    assert found["truncated"]["data"] == [True]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"inputs": []}, "inputs"),
        (one(name="texts"), "inputs"),
        (one(datatype="FP32"), "text.datatype"),
        (one(shape=[2]), "text.data"),
        (one(data=[1]), "data[0]"),
        (one(shape=[0], data=[]), "text.shape"),
        ({"outputs": [{"name": "none"}]}, "outputs"),
        ({"outputs": [{"name": "label"}, {"name": "label"}]}, "outputs"),
        ({"id": 7}, "id"),
        ({"parameters": 7}, "parameters"),
    ],
)
async def test_what_is_wrong_is_named(changed: dict[str, Any], field: str) -> None:
    answer = await post(INFER, json={**text(["fine"]), **changed})
    assert answer.status_code == 400
    assert field in answer.json()["field"]
    assert answer.json()["error"] == answer.json()["detail"]


async def test_embeddings_need_their_fingerprint() -> None:
    entry = {"name": "embedding", "datatype": "FP32", "shape": [1, 2], "data": [[1.5, 2]]}
    refused = await post(INFER, json={"inputs": [entry]})
    assert refused.json()["field"] == "parameters.fingerprint"
    answer = await post(INFER, json={"inputs": [entry], "parameters": {"fingerprint": "f"}})
    assert outputs(answer)["label"]["data"] == ["torn"]


async def test_models_are_described_and_listed() -> None:
    async with asked() as client:
        metadata = (await client.get("/v2/models/acme/textile")).json()
        assert metadata["versions"] == ["3"]
        assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
        ready = await client.get("/v2/models/backbones/text/one/ready")
        assert ready.json() == {"name": "backbones/text/one", "ready": True}
        assert (await client.get("/v2/models/backbones/none/one/ready")).status_code == 404
        assert (await client.get("/v2/models/acme/textile/versions/x/ready")).status_code == 400
        models = (await client.get("/v2/models")).json()["models"]
        assert models == [f"backbones/{kind}/one" for kind in ("text", "image")] + [
            f"acme/h{number}" for number in range(3)
        ]
        index = (await client.post("/v2/repository/index")).json()
        assert [entry["name"] for entry in index] == models
        assert (await client.get("/v2/health/ready")).status_code == 503  # nothing says it is


TEXT = st.sampled_from(["", "a", "fail", "\ud800", "\0", "/9j/", "é", "fingerprint"])
PLAIN = st.none() | st.booleans() | st.sampled_from([-1, 0, 3, 1.5, 10**39, 1e300]) | TEXT
JSON: st.SearchStrategy[Any] = PLAIN | st.lists(PLAIN | st.lists(PLAIN, max_size=2), max_size=3)
JSON = JSON | st.dictionaries(TEXT, JSON, max_size=2)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["text", "image", "digest", "pixels", "embedding"]) | JSON,
        "datatype": st.sampled_from(["BYTES", "FP32", "UINT8"]) | JSON,
        "shape": st.lists(st.integers(-1, 4) | st.just(10**30), max_size=5) | JSON,
        "data": st.lists(JSON, max_size=4) | JSON,
        "parameters": st.fixed_dictionaries(
            {}, optional={"binary_data_size": st.integers(-1, 40) | JSON, "fingerprint": JSON}
        ),
    },
)
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(TENSOR, max_size=2) | JSON,
        "outputs": st.lists(st.fixed_dictionaries({"name": JSON}), max_size=2) | JSON,
        "parameters": JSON,
        "id": JSON,
    },
)


@given(sent=REQUEST, blob=st.binary(max_size=40), length=st.none() | st.integers(-3, 400))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_no_request_is_a_fault_of_the_server(
    sent: dict[str, Any], blob: bytes, length: int | None
) -> None:
    head = json.dumps(sent).encode()
    size = len(head) if length is None or not blob else length
    for path in (INFER, "/v2/models/backbones/text/one/infer"):
        answer = await post(path, content=head + blob, headers={LENGTH: str(size)})
        assert answer.status_code in (200, 400), answer.text
