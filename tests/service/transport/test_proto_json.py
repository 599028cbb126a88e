"""What a JSON body or a query string that makes no request is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.message import Message

from service.errors import InvalidRequest
from service.transport.proto_json import read_json, read_strings
from trunkline.v1 import heads_pb2, prediction_pb2

POLICIES = ", ".join(heads_pb2.FeedbackPolicy.keys())


@pytest.mark.parametrize(
    ("request_class", "body", "field", "limit", "value"),
    [
        (heads_pb2.CreateHeadRequest, {"policy": "SOMETIMES"}, "policy", POLICIES, "SOMETIMES"),
        (heads_pb2.CreateHeadRequest, {"policy": 1.5}, "policy", POLICIES, 1.5),
        (heads_pb2.CreateHeadRequest, {"policy": True}, "policy", POLICIES, True),
        (heads_pb2.ListHeadsRequest, {"page_size": -1}, "page_size", "a whole number from 0", -1),
        (heads_pb2.ListHeadsRequest, {"pageSize": -1}, "page_size", "a whole number from 0", -1),
        (
            heads_pb2.CreateHeadRequest,
            {"spec": {"seed": -1}},
            "spec.seed",
            "a whole number from 0",
            -1,
        ),
        (heads_pb2.CreateHeadRequest, {"spec": {"l2": "much"}}, "spec.l2", "a number", "much"),
        (heads_pb2.CreateHeadRequest, {"spec": {"family": 3}}, "spec.family", "a string", 3),
        (
            heads_pb2.CreateHeadRequest,
            {"spec": {"novelty": {"abstain": "yes"}}},
            "spec.novelty.abstain",
            "true or false",
            "yes",
        ),
        (heads_pb2.ImportHeadRequest, {"safetensors": "a"}, "safetensors", "base64", "a"),
    ],
)
def test_wrong_value_is_named_with_what_its_field_takes(
    request_class: type[Message], body: dict[str, Any], field: str, limit: str, value: object
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_json(request_class, json.dumps(body).encode(), {})
    assert (caught.value.field, caught.value.limit) == (field, limit)
    assert caught.value.value == value
    assert str(value)[:50] in str(caught.value)


def test_unknown_field_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nonsense") as caught:
        read_json(prediction_pb2.PredictRequest, b'{"nonsense": 1}', {})
    assert caught.value.field == "body"


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("False", False), ("1", True)])
def test_query_string_sets_a_boolean(text: str, expected: bool) -> None:
    values = read_strings(heads_pb2.ExportHeadRequest, {"onnx": text, "version": "2"})
    request = read_json(heads_pb2.ExportHeadRequest, b"", values)
    assert request == heads_pb2.ExportHeadRequest(onnx=expected, version=2)


def test_query_string_that_is_no_boolean_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_strings(heads_pb2.ExportHeadRequest, {"onnx": "perhaps"})
    assert (caught.value.field, caught.value.limit) == ("onnx", "true or false")


@pytest.mark.parametrize("state", ["FEEDBACK_STATE_QUARANTINED", "3"])
def test_query_string_sets_an_enum_by_name_or_number(state: str) -> None:
    values = read_strings(heads_pb2.ListFeedbackRequest, {"state": state})
    request = read_json(heads_pb2.ListFeedbackRequest, b"", values)
    assert request == heads_pb2.ListFeedbackRequest(state=heads_pb2.FEEDBACK_STATE_QUARANTINED)
