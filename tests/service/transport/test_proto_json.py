"""What a JSON body or a query string that makes no request is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson, ParseDict
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from models import InputLimits
from service.errors import InvalidRequest, Problem, problem_of
from service.requests.fields import check_feedback_id, check_label
from service.requests.inputs import read_input
from service.transport.proto_json import read_json, read_strings
from trunkline.v1 import advice_pb2, common_pb2, heads_pb2, prediction_pb2, tenants_pb2

WHOLE = "a whole number from 0 to 4294967295"
POLICIES = ", ".join(heads_pb2.FeedbackPolicy.keys())


@pytest.mark.parametrize(
    ("request_class", "body", "field", "limit", "value"),
    [
        (heads_pb2.CreateHeadRequest, {"policy": "SOMETIMES"}, "policy", POLICIES, "SOMETIMES"),
        (heads_pb2.CreateHeadRequest, {"policy": 1.5}, "policy", POLICIES, 1.5),
        (heads_pb2.CreateHeadRequest, {"policy": True}, "policy", POLICIES, "true"),
        (heads_pb2.ListHeadsRequest, {"page_size": -1}, "page_size", WHOLE, -1),
        (heads_pb2.ListHeadsRequest, {"pageSize": -1}, "page_size", WHOLE, -1),
        (
            heads_pb2.CreateHeadRequest,
            {"spec": {"seed": -1}},
            "spec.seed",
            WHOLE,
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
    assert caught.value.field == "nonsense"


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("False", False), ("1", True)])
def test_query_string_sets_a_boolean(text: str, expected: bool) -> None:
    values = read_strings(heads_pb2.ExportHeadRequest, [("onnx", text), ("version", "2")])
    request = read_json(heads_pb2.ExportHeadRequest, b"", values)
    assert request == heads_pb2.ExportHeadRequest(onnx=expected, version=2)


def test_query_string_that_is_no_boolean_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_strings(heads_pb2.ExportHeadRequest, [("onnx", "perhaps")])
    assert (caught.value.field, caught.value.limit) == ("onnx", "true or false")


@pytest.mark.parametrize("state", ["FEEDBACK_STATE_QUARANTINED", "3"])
def test_query_string_sets_an_enum_by_name_or_number(state: str) -> None:
    values = read_strings(heads_pb2.ListFeedbackRequest, [("state", state)])
    request = read_json(heads_pb2.ListFeedbackRequest, b"", values)
    assert request == heads_pb2.ListFeedbackRequest(state=heads_pb2.FEEDBACK_STATE_QUARANTINED)


def refused(body: object, request_class: type[Message] = prediction_pb2.PredictRequest) -> Problem:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidRequest) as caught:
        read_json(request_class, text, {})
    problem = problem_of(caught.value)
    told = f"{problem.message} {problem.field} {problem.limit} {problem.value}"
    for word in (
        "Failed to parse",
        "trunkline.v1.",
        "NoneType",
        "codec",
        "Error",
        "argument",
        " dict",
    ):
        assert word not in told, "a library speaks"
    return problem


@pytest.mark.parametrize(
    ("row", "field", "limit", "value"),
    [
        ({"image": [255, 216]}, "inputs[1].image", "base64", "an array"),
        ({"image": {"type": "Buffer", "data": [255]}}, "inputs[1].image", "base64", "an object"),
        ({"image": 5}, "inputs[1].image", "base64", "5"),
        ({"text": 5}, "inputs[1].text", "a string", "5"),
        ({"text": ["a", "b"]}, "inputs[1].text", "a string", "an array"),
        ({"text": False}, "inputs[1].text", "a string", "false"),
        ("just a text", "inputs[1]", "an object", "just a text"),
        (["a"], "inputs[1]", "an object", "an array"),
        (None, "inputs[1]", "an object", "null"),
        ({"pixels": "YQ=="}, "inputs[1].pixels", "an object", "YQ=="),
        ({"pixels": {"shape": 3}}, "inputs[1].pixels.shape", "an array", "3"),
        ({"pixels": {"shape": [1.5]}}, "inputs[1].pixels.shape[0]", WHOLE, "1.5"),
        ({"pixels": {"shape": [2**32]}}, "inputs[1].pixels.shape[0]", WHOLE, str(2**32)),
        ({"pixels": {"shape": [None]}}, "inputs[1].pixels.shape[0]", WHOLE, "null"),
        ({"pixels": {"data": "!"}}, "inputs[1].pixels.data", "base64", "!"),
        (
            {"embedding": {"vector": {"data": "!"}}},
            "inputs[1].embedding.vector.data",
            "base64",
            "!",
        ),
        ({"textUtf8": "\u00e9"}, "inputs[1].text_utf8", "base64", "\u00e9"),
        ({"digest": 7}, "inputs[1].digest", "a string", "7"),
    ],
)
def test_row_of_a_wrong_kind_is_named_by_its_path(
    row: object, field: str, limit: str, value: str
) -> None:
    problem = refused({"inputs": [{"text": "sound"}, row]})
    assert (problem.field, problem.limit, problem.value) == (field, limit, value)
    assert problem.message.startswith(f"{field}: must be {limit}, is ")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"inputs": {"text": "a"}}, "inputs"),
        ({"inputs": "a"}, "inputs"),
        ({"heads": ["a", 3]}, "heads[1]"),
        ({"top_k": 2**32}, "top_k"),
        ({"top_k": 10**60}, "top_k"),
        ({"top_k": [1]}, "top_k"),
        ({"top_k": "5e0"}, "top_k"),
        (b'{"top_k": NaN}', "top_k"),
        (b'{"top_k": 1e999}', "top_k"),
        ({"conformal_level": "high"}, "conformal_level"),
        ({"conformal_level": True}, "conformal_level"),
        ({"head": "tenants/\ud800"}, "head"),
        ({"heads": ["\ud800"]}, "heads[0]"),
    ],
)
def test_field_of_a_wrong_kind_is_named(body: object, field: str) -> None:
    assert refused(body).field == field


@pytest.mark.parametrize("value", ["\ud800", "a\udfff", "\x00", "", 10**39, -1, 1.0, 1e300, True])
def test_value_that_no_enumeration_has_is_named(value: object) -> None:
    problem = refused({"policy": value}, heads_pb2.CreateHeadRequest)
    assert (problem.field, problem.limit.partition(",")[0]) == (
        "policy",
        "FEEDBACK_POLICY_UNSPECIFIED",
    )


def test_query_or_form_whose_bytes_are_no_text_names_its_field() -> None:
    given = read_strings(heads_pb2.ListFeedbackRequest, [("state", "\udcff")])
    with pytest.raises(InvalidRequest) as caught:
        read_json(heads_pb2.ListFeedbackRequest, b"", given)
    assert caught.value.field == "state"


def test_two_kinds_of_input_in_one_row_are_named() -> None:
    problem = refused({"inputs": [{"text": "a", "image": "YQ=="}]})
    assert problem.field == "inputs[0]"
    assert problem.value == "text and image"


@pytest.mark.parametrize(
    ("body", "field", "hint"),
    [
        ({"inputs": [{"imgae": "YQ=="}]}, "inputs[0].imgae", "did you mean image?"),
        ({"topk": 1}, "topk", "did you mean top_k?"),
        ({"inputs": [{"url": "http://a"}]}, "inputs[0].url", "there are image, text"),
    ],
)
def test_unknown_field_is_named_with_what_is_near(body: object, field: str, hint: str) -> None:
    problem = refused(body)
    assert problem.field == field
    assert hint in problem.message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"top_k": 1, "top_k": 2}', "top_k"),
        (b'{"top_k": 1, "topK": 2}', "top_k"),
        (b'{"inputs": [{"text": "a", "text": "b"}]}', "inputs[0].text"),
    ],
)
def test_field_that_is_set_twice_is_refused(body: bytes, field: str) -> None:
    problem = refused(body)
    assert problem.field == field
    assert "twice" in problem.message


def test_class_weight_of_a_wrong_kind_is_named_by_its_class() -> None:
    body = {"spec": {"class_weights": {"good": 1, "bad": "heavy"}}}
    problem = refused(body, heads_pb2.CreateHeadRequest)
    assert (problem.field, problem.limit) == ("spec.class_weights.bad", "a number")
    assert refused({"spec": {"class_weights": [1]}}, heads_pb2.CreateHeadRequest).field == (
        "spec.class_weights"
    )


def test_null_leaves_a_field_unset() -> None:
    body = b'{"spec": null, "backbone": null, "policy": null}'
    assert read_json(heads_pb2.CreateHeadRequest, body, {}) == heads_pb2.CreateHeadRequest()


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"inputs": [{"text": "a"}', "line 1, column 26"),
        (b'{"inputs":\n [{"text": tru}]}', "line 2, column 12"),
        (b"{'inputs': []}", "line 1, column 2"),
        (b'{"inputs": [],}', "line 1, column"),
        (b'{"inputs": []} more', "line 1, column 16"),
        (b'{"head": "a\nb"}', "line 1, column 12"),
        (b'{"head": "a', "line 1, column 10"),
        (b'{"head": "a\xff"}', "byte 11"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b'{"a":' * 40_000, "nested too deeply"),
    ],
)
def test_text_that_is_no_json_is_told_where(body: bytes, place: str) -> None:
    problem = refused(body)
    assert (problem.field, problem.limit) == ("body", "JSON")
    assert place in problem.message


@pytest.mark.parametrize("escaped", [True, False])
def test_half_an_emoji_is_left_to_the_row_that_has_it(escaped: bool) -> None:
    half = b"\\ud83d" if escaped else b"\xed\xa0\xbd"
    rows = b'{"input": {"text": "a' + half + b'"}, "label": "b", "id": "c"}'
    whole = b'{"input": {"text": "\\ud83d\\ude00"}, "label": "' + half + b'", "id": "d"}'
    body = b'{"feedback": [' + rows + b", " + whole + b"]}"
    message = read_json(prediction_pb2.SendFeedbackRequest, body, {})
    assert isinstance(message, prediction_pb2.SendFeedbackRequest)
    first, second = message.feedback
    with pytest.raises(InvalidRequest, match="text: must be valid UTF-8, byte 1 is not"):
        read_input(first.input, InputLimits())
    assert second.input.text == "\N{GRINNING FACE}"
    with pytest.raises(InvalidRequest, match="label: must be valid Unicode, character 1 is not"):
        check_label(second.label, 100)


def test_half_an_emoji_of_a_feedback_id_is_left_to_its_row() -> None:
    body = b'{"feedback": [{"id": "\\udc00"}]}'
    message = read_json(prediction_pb2.SendFeedbackRequest, body, {})
    assert isinstance(message, prediction_pb2.SendFeedbackRequest)
    with pytest.raises(InvalidRequest, match="id: must match"):
        check_feedback_id(message.feedback[0].id)


@pytest.mark.parametrize(
    ("pairs", "field"),
    [
        ([("page_sise", "1")], "page_sise"),
        ([("page_size", "1"), ("page_size", "2")], "page_size"),
        ([("page_size", "1"), ("pageSize", "1")], "page_size"),
    ],
)
def test_query_that_says_what_no_field_takes_is_refused(
    pairs: list[tuple[str, str]], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_strings(heads_pb2.ListHeadsRequest, pairs)
    assert caught.value.field == field


def json_values() -> st.SearchStrategy[Any]:
    text = st.text(st.characters(), max_size=5)  # half surrogate pairs, too
    plain = st.none() | st.booleans() | st.integers() | st.floats() | text
    names = st.sampled_from(
        [
            "inputs",
            "image",
            "text",
            "spec",
            "seed",
            "policy",
            "top_k",
            "pixels",
            "shape",
            "examples",
        ]
    )
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=12,
    )


@given(
    st.dictionaries(
        st.sampled_from(["inputs", "spec", "policy", "top_k", "examples", "head"]), json_values()
    ),
    st.sampled_from(
        [
            prediction_pb2.PredictRequest,
            heads_pb2.CreateHeadRequest,
            heads_pb2.AddExamplesRequest,
            advice_pb2.AdviseRequest,
        ]
    ),
)
def test_any_object_is_read_as_protobuf_reads_it_or_refused_by_the_path_of_a_field(
    data: dict[str, Any], request_class: type[Message]
) -> None:
    try:
        message = read_json(request_class, json.dumps(data).encode(), {})
    except InvalidRequest as error:
        field = error.field
    else:
        assert message == ParseDict(data, request_class())
        field = "none"
    assert field


@given(st.builds(common_pb2.Input, image=st.binary(max_size=9)), st.text(max_size=9))
def test_message_in_its_json_form_is_read_as_it_was(item: common_pb2.Input, label: str) -> None:
    spec = heads_pb2.HeadSpec(class_weights={label: 0.5}, l2=1e-3, seed=7)
    for message in (
        heads_pb2.CreateHeadRequest(spec=spec, policy=heads_pb2.FEEDBACK_POLICY_GATED),
        heads_pb2.AddExamplesRequest(examples=[heads_pb2.NewExample(input=item, label=label)]),
    ):
        assert read_json(type(message), MessageToJson(message).encode(), {}) == message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2026-01-31T09:00:00Z", 1769850000), ("2026-01-31T10:30:00.5+01:30", 1769850000)],
)
def test_time_is_read_as_it_is_written(text: str, seconds: int) -> None:
    read = read_json(tenants_pb2.GetUsageRequest, b"{}", {"start_time": text})
    assert isinstance(read, tenants_pb2.GetUsageRequest)
    assert read.start_time.seconds == seconds


@pytest.mark.parametrize(
    "value",
    ["", "now", "2026-01-31", "2026-02-30T09:00:00Z", "2026-01-31T09:00:00", 1769850000, {}, True],
)
def test_what_is_no_time_is_refused_by_its_field(value: object) -> None:
    with pytest.raises(InvalidRequest, match="2026-01-31T09:00:00Z") as refused:
        read_json(tenants_pb2.GetUsageRequest, b"{}", {"start_time": value})
    assert refused.value.field == "start_time"
