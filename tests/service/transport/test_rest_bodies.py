"""JSON and multipart bodies become messages, and replies become JSON."""

from __future__ import annotations

import base64
import io
import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import UploadFile

from service.errors import InvalidRequest
from service.requests.tensors import to_tensor
from service.transport.proto_json import read_json
from service.transport.rest_bodies import read_form, write_json
from trunkline.v1 import advice_pb2, common_pb2, extraction_pb2, heads_pb2, prediction_pb2

HEAD = "tenants/acme/heads/defects"


def file(content: bytes) -> UploadFile:
    return UploadFile(io.BytesIO(content))


def test_json_becomes_a_message() -> None:
    body = {
        "inputs": [{"image": base64.b64encode(b"png").decode()}, {"text": "hello"}],
        "top_k": 3,
    }
    message = read_json(prediction_pb2.PredictRequest, json.dumps(body).encode(), {"head": HEAD})
    assert message == prediction_pb2.PredictRequest(
        head=HEAD,
        inputs=[common_pb2.Input(image=b"png"), common_pb2.Input(text="hello")],
        top_k=3,
    )


def test_empty_body_is_an_empty_message() -> None:
    message = read_json(heads_pb2.GetHeadRequest, b"", {"name": HEAD})
    assert message == heads_pb2.GetHeadRequest(name=HEAD)


def test_field_of_the_query_string_is_read_as_its_type() -> None:
    message = read_json(heads_pb2.ListHeadsRequest, b"", {"page_size": "5", "page_token": "x"})
    assert message == heads_pb2.ListHeadsRequest(page_size=5, page_token="x")


@pytest.mark.parametrize("state", ["FEEDBACK_STATE_QUARANTINED", "3"])
def test_enum_of_the_query_string_is_read_by_name_or_number(state: str) -> None:
    message = read_json(heads_pb2.ListFeedbackRequest, b"", {"head": HEAD, "state": state})
    assert message == heads_pb2.ListFeedbackRequest(
        head=HEAD, state=heads_pb2.FEEDBACK_STATE_QUARANTINED
    )


@pytest.mark.parametrize("state", ["QUARANTINED", ""])
def test_enum_that_does_not_exist_is_refused(state: str) -> None:
    with pytest.raises(InvalidRequest):
        read_json(heads_pb2.ListFeedbackRequest, b"", {"state": state})


def test_optional_fields_keep_whether_they_were_set() -> None:
    body = b'{"policy": "FEEDBACK_POLICY_MANUAL", "allow_new_labels": false}'
    message = read_json(heads_pb2.UpdateHeadRequest, body, {"name": HEAD})
    assert isinstance(message, heads_pb2.UpdateHeadRequest)
    assert message.HasField("allow_new_labels")
    assert not message.HasField("spec")
    assert message.policy == heads_pb2.FEEDBACK_POLICY_MANUAL
    empty = read_json(heads_pb2.UpdateHeadRequest, b"{}", {"name": HEAD})
    assert isinstance(empty, heads_pb2.UpdateHeadRequest)
    assert not empty.HasField("policy")
    level = read_json(prediction_pb2.PredictRequest, b'{"conformal_level": 0.0}', {})
    assert isinstance(level, prediction_pb2.PredictRequest)
    assert level.HasField("conformal_level")


def test_body_may_repeat_what_the_path_says() -> None:
    body = json.dumps({"head": HEAD}).encode()
    message = read_json(heads_pb2.TrainHeadRequest, body, {"head": HEAD})
    assert message == heads_pb2.TrainHeadRequest(head=HEAD)


def test_body_that_contradicts_the_path_is_refused() -> None:
    body = json.dumps({"head": "tenants/bolt/heads/x"}).encode()
    with pytest.raises(InvalidRequest, match="must be the path's") as caught:
        read_json(heads_pb2.TrainHeadRequest, body, {"head": HEAD})
    assert caught.value.field == "head"
    assert caught.value.limit == HEAD


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe\xfa",
        b"[]",
        b"3",
        b"null",
        b'"text"',
        b"[" * 100_000,
        b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"no_such_field": 1}',
        b'{"inputs": 3}',
        b'{"inputs": [{"image": "not base64!"}]}',
        b'{"inputs": [{"image": 3}]}',
        b'{"inputs": [null]}',
        b'{"top_k": -1}',
        b'{"top_k": 1e999}',
        b'{"top_k": "many"}',
        b'{"top_k": ' + b"9" * 5000 + b"}",
        b'{"head": "tenants/\\ud800"}',
    ],
)
def test_malformed_body_is_refused_without_a_traceback(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_json(prediction_pb2.PredictRequest, body, {})


@given(st.binary(max_size=60))
def test_any_body_is_either_read_or_refused(body: bytes) -> None:
    with suppress(InvalidRequest):
        message = read_json(prediction_pb2.PredictRequest, body, {})
        assert isinstance(message, prediction_pb2.PredictRequest)


async def test_form_of_files_and_texts_becomes_rows_in_order() -> None:
    message = await read_form(
        prediction_pb2.PredictRequest,
        [("image", file(b"one")), ("text", "two"), ("top_k", "2"), ("text", file(b"\xff"))],
        {"head": HEAD},
    )
    assert message == prediction_pb2.PredictRequest(
        head=HEAD,
        inputs=[
            common_pb2.Input(image=b"one"),
            common_pb2.Input(text_utf8=b"two"),
            common_pb2.Input(text_utf8=b"\xff"),
        ],
        top_k=2,
    )


async def test_labels_of_a_form_belong_to_its_rows() -> None:
    parts: list[tuple[str, UploadFile | str]] = [
        ("image", file(b"1")),
        ("label", "a"),
        ("image", file(b"2")),
        ("label", "b"),
    ]
    message = await read_form(heads_pb2.AddExamplesRequest, parts, {"head": HEAD})
    assert isinstance(message, heads_pb2.AddExamplesRequest)
    assert [(row.input.image, row.label) for row in message.examples] == [(b"1", "a"), (b"2", "b")]


async def test_examples_without_labels_have_none() -> None:
    message = await read_form(heads_pb2.AddExamplesRequest, [("text", "x")], {})
    assert isinstance(message, heads_pb2.AddExamplesRequest)
    assert not message.examples[0].HasField("label")


async def test_feedback_of_a_form_carries_ids() -> None:
    parts = [("text", "x"), ("label", "a"), ("id", "one")]
    message = await read_form(prediction_pb2.SendFeedbackRequest, parts, {})
    assert isinstance(message, prediction_pb2.SendFeedbackRequest)
    (row,) = message.feedback
    assert (row.input.text_utf8, row.label, row.id) == (b"x", "a", "one")


@pytest.mark.parametrize("request_class", [heads_pb2.AddExamplesRequest, advice_pb2.AdviseRequest])
async def test_examples_of_a_form_carry_groups(request_class: Any) -> None:
    parts = [("text", "x"), ("label", "a"), ("group", "scene 1"), ("text", "y")]
    message: Any = await read_form(request_class, [*parts, ("label", "b"), ("group", "")], {})
    assert [(row.label, row.group) for row in message.examples] == [("a", "scene 1"), ("b", "")]


async def test_examples_of_a_form_carry_external_ids() -> None:
    parts = [("text", "x"), ("external_id", "1.txt"), ("text", "y"), ("external_id", "2.txt")]
    message: Any = await read_form(heads_pb2.AddExamplesRequest, parts, {})
    assert [row.external_id for row in message.examples] == ["1.txt", "2.txt"]


@pytest.mark.parametrize(
    ("request_class", "part"),
    [
        (prediction_pb2.PredictRequest, "label"),
        (prediction_pb2.PredictRequest, "id"),
        (extraction_pb2.EmbedRequest, "group"),
        (heads_pb2.AddExamplesRequest, "id"),
        (prediction_pb2.SendFeedbackRequest, "group"),
    ],
)
async def test_part_that_no_row_of_the_request_has_is_refused(
    request_class: Any, part: str
) -> None:
    with pytest.raises(InvalidRequest, match="is no field of") as caught:
        await read_form(request_class, [("text", "x"), (part, "a")], {})
    assert caught.value.field == part


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ([("text", "x"), ("text", "y"), ("label", "a")], "label"),
        ([("text", "x"), ("label", "a"), ("label", "b")], "label"),
        ([("text", "x"), ("label", "a"), ("id", "1"), ("id", "2")], "id"),
        ([("label", file(b"a"))], "label"),
        ([("other", file(b"a"))], "other"),
        ([("no_such_field", "a")], "no_such_field"),
        ([("head", "a"), ("head", "b")], "head"),
    ],
)
async def test_form_that_makes_no_request_is_refused(
    parts: list[tuple[str, UploadFile | str]], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await read_form(prediction_pb2.SendFeedbackRequest, parts, {})
    assert caught.value.field == field


async def test_request_that_takes_no_inputs_takes_no_files() -> None:
    with pytest.raises(InvalidRequest, match="takes no files"):
        await read_form(heads_pb2.CreateHeadRequest, [("image", file(b"x"))], {})


def test_predictions_are_written_as_rows() -> None:
    reply = prediction_pb2.PredictResponse(
        digests=["d0", "", "d2"],
        errors=[common_pb2.RowError(row=1, code="INVALID_ARGUMENT", message="bad", field="image")],
        predictions=[
            prediction_pb2.HeadPredictions(
                head=HEAD,
                version=3,
                labels=["no", "yes"],
                rows=[2, 0],
                indices=to_tensor(np.array([[1, 0], [0, 1]], np.uint32)),
                probabilities=to_tensor(np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)),
            )
        ],
    )
    written: list[dict[str, Any]] = write_json(reply)["predictions"]
    assert [row["row"] for row in written] == [0, 1, 2]
    assert written[2] == {
        "row": 2,
        "digest": "d2",
        "head": HEAD,
        "version": 3,
        "live": False,
        "label": "yes",
        "probability": 0.75,
        "scores": {"yes": 0.75, "no": 0.25},
    }
    assert written[0]["label"] == "no"
    assert "label" not in written[1]
    assert written[1]["error"]["code"] == "INVALID_ARGUMENT"
    json.dumps(written)


def test_embeddings_are_written_as_rows() -> None:
    reply = extraction_pb2.EmbedResponse(
        backbone="tiny/text",
        fingerprint="f",
        digests=["d0", ""],
        embeddings=to_tensor(np.array([[1, 2], [0, 0]], np.float32)),
        errors=[common_pb2.RowError(row=1, code="NOT_FOUND", message="unknown")],
    )
    written = write_json(reply)
    assert written["embeddings"][0] == {"row": 0, "digest": "d0", "embedding": [1.0, 2.0]}
    assert written["embeddings"][1]["error"]["code"] == "NOT_FOUND"
    assert "embedding" not in written["embeddings"][1]


def test_other_replies_are_written_with_their_defaults_in_snake_case() -> None:
    written = write_json(heads_pb2.AddExamplesResponse(added=2))
    defaults = {"updated": 0, "unchanged": 0, "failed": 0, "errors": []}
    assert (defaults | {"added": 2}).items() <= written.items()
    assert "active_version" in write_json(heads_pb2.GetHeadResponse(head=heads_pb2.Head()))["head"]


def test_sets_and_novelty_are_written_by_row_and_an_abstention_has_no_label() -> None:
    reply = prediction_pb2.PredictResponse(
        digests=["d0", "d1"],
        predictions=[
            prediction_pb2.HeadPredictions(
                head=HEAD,
                version=1,
                labels=["no", "yes"],
                rows=[0, 1],
                indices=to_tensor(np.array([[1, 0], [0, 1]], np.uint32)),
                probabilities=to_tensor(np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)),
                set_sizes=to_tensor(np.array([0, 2], np.uint32)),
                set_indices=to_tensor(np.array([0, 1], np.uint32)),
                novelty=to_tensor(np.array([1.5, 0.5], np.float32)),
                novel=[True, False],
                abstains=True,
                live=True,
            )
        ],
    )
    novel, known = write_json(reply)["predictions"]
    assert (novel["novelty"], novel["novel"], novel["set"]) == (1.5, True, [])
    assert novel["abstained"]
    assert "label" not in novel
    assert "scores" not in novel
    assert (known["novel"], known["set"], known["label"]) == (False, ["no", "yes"], "no")
    assert known["live"]
    assert "abstained" not in known


def test_confusion_matrix_of_a_report_is_written_as_rows() -> None:
    matrix = to_tensor(np.array([[3, 1], [0, 2]], np.uint32))
    report = heads_pb2.HeadReport(evaluation=heads_pb2.Evaluation(confusion=matrix))
    written = write_json(heads_pb2.GetHeadReportResponse(report=report))
    assert written["report"]["evaluation"]["confusion"] == [[3, 1], [0, 2]]
    assert "test" not in written["report"]
