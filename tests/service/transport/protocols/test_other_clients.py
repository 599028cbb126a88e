"""OpenAI's and Hugging Face's protocols, and the plain ways to send rows."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.transport.protocols.served import asked

JPEG = {"content-type": "image/jpeg"}
LINES = {"content-type": "application/x-ndjson"}
PREDICT = "/v1/tenants/acme/heads/textile:predict"


async def post(path: str, **sent: Any) -> httpx.Response:
    async with asked() as client:
        return await client.post(path, **sent)


async def embeddings(**fields: Any) -> httpx.Response:
    return await post("/v1/embeddings", json={"model": "text/one", **fields})


async def test_embeddings_are_lists_or_base64_of_little_endian_floats() -> None:
    listed = (await embeddings(input=["a", "b"])).json()
    packed = (await embeddings(input=["a", "b"], encoding_format="base64")).json()
    for row, (plain, coded) in enumerate(zip(listed["data"], packed["data"], strict=True)):
        decoded = np.frombuffer(base64.b64decode(coded["embedding"]), "<f4")
        assert plain["embedding"] == decoded.tolist() == [row * 4 + i for i in range(4)]
        assert plain["index"] == row
    assert listed["truncated"] == [0]
    assert len((await embeddings(input="a")).json()["data"]) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ["a", "fail"]}, "input[1]"),
        ({"input": [1, 2]}, "input[0]"),
        ({"input": [[1, 2]]}, "input[0]"),
        ({"input": []}, "input"),
        ({"input": "a", "dimensions": 3}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "model": 7}, "model"),
        ({"input": "a", "inputs": "a"}, "inputs"),
    ],
)
async def test_refusal_names_the_parameter_as_openai_does(
    fields: dict[str, Any], param: str
) -> None:
    answer = await embeddings(**fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert answer.headers["x-should-retry"] == "false"


async def test_model_that_is_not_there_is_not_found() -> None:
    async with asked() as client:
        assert [each["id"] for each in (await client.get("/v1/models")).json()["data"]] == [
            "text/one",
            "image/one",
        ]
        assert (await client.get("/v1/models/text/one")).json()["object"] == "model"
        assert (await client.get("/v1/models/none")).status_code == 404


async def test_raw_image_and_base64_are_classified_alike() -> None:
    raw = await post("/hf/acme/images", content=b"\xff\xd8", headers=JPEG)
    coded = base64.b64encode(b"\xff\xd8").decode()
    sent = {"inputs": coded, "parameters": {"top_k": 3}}
    assert raw.json() == (await post("/hf/acme/images", json=sent)).json()
    assert [each["label"] for each in raw.json()] == ["torn", "good", "bad"]


async def test_texts_are_classified_one_by_one_and_embedded() -> None:
    one = {"inputs": "fine", "parameters": {"top_k": 1}}
    (row,) = (await post("/hf/acme/textile", json=one)).json()
    assert [each["label"] for each in row] == ["torn"]
    two = (await post("/hf/acme/textile", json={"inputs": ["fine", "fine"]})).json()
    assert len(two) == 2
    found = await post("/hf/backbones/text/one", json={"inputs": "fine"})
    assert found.json() == [[0, 1, 2, 3]]
    refused = await post("/hf/acme/textile", json={"inputs": ["fine", "fail"]})
    assert refused.status_code == 400
    assert "inputs[1]" in refused.json()["error"]


async def test_image_as_the_body_is_one_row() -> None:
    answer = await post(PREDICT + "?top_k=1", content=b"\xff\xd8", headers=JPEG)
    (row,) = answer.json()["predictions"]
    assert row["label"] == "torn"
    refused = await post("/v1/tenants/acme/heads/textile:train", content=b"x", headers=JPEG)
    assert refused.status_code == 400


async def test_each_line_is_answered_and_a_bad_one_costs_itself() -> None:
    body = b'{"text_utf8": "ZmluZQ=="}\nnonsense\n\n{"none": 1}\r\n{"text": "fine"}'
    answer = await post(PREDICT, content=body, headers=LINES)
    assert answer.headers["content-type"] == LINES["content-type"]
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert [row["row"] for row in rows] == [0, 1, 2, 3]
    assert ["error" in row for row in rows] == [False, True, True, False]
    assert "line 2" in rows[1]["error"]["message"]
    assert "none" in rows[2]["error"]["message"]


SMALL = st.sampled_from([None, True, -1, 3, 1.5, "", "a", "fail", "\ud800", "float", "text/one"])
ANY = SMALL | st.lists(SMALL | st.lists(SMALL, max_size=2), max_size=3)
FIELDS = ("input", "model", "encoding_format", "dimensions", "user", "inputs", "parameters")


@given(data=st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=5), body=st.binary(max_size=30))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_no_request_is_a_fault_of_the_server(data: dict[str, Any], body: bytes) -> None:
    kept = {name: data[name] for name in ("inputs", "parameters") if name in data}
    for path, sent in (
        ("/v1/embeddings", data),
        ("/v1/embeddings", {"model": "text/one", "input": data.get("input")}),
        ("/hf/acme/textile", kept),
        ("/hf/acme/images", kept),
    ):
        answer = await post(
            path, content=json.dumps(sent), headers={"content-type": "application/json"}
        )
        assert answer.status_code in (200, 400)
    assert (await post("/v1/embeddings", content=body)).status_code in (200, 400)
    answer = await post(PREDICT, content=body, headers=LINES)
    assert answer.status_code in (200, 400)
