"""A bad request says what is wrong, and changes nothing."""

from __future__ import annotations

import math

import pytest
from google.protobuf.message import Message

from tests.e2e.bounds.checks import TENANT, assert_logged, assert_tells_no_secret
from tests.e2e.conftest import IMAGES, TEXTS
from tests.e2e.processes import Running
from tests.e2e.transports import (
    Grpc,
    Refused,
    Rest,
    Transport,
    text,
)
from trunkline.v1 import extraction_pb2, heads_pb2, prediction_pb2

BAD_REQUESTS: dict[str, tuple[str, Message, str, str, str]] = {
    "unknown head": (
        "Predict",
        prediction_pb2.PredictRequest(head=f"{TENANT}/heads/none", inputs=[text("x")]),
        "NOT_FOUND",
        "",
        f"{TENANT}/heads/none",
    ),
    "no rows": (
        "Predict",
        prediction_pb2.PredictRequest(head=f"{TENANT}/heads/text"),
        "INVALID_ARGUMENT",
        "1024",
        "0",
    ),
    "too many rows": (
        "Predict",
        prediction_pb2.PredictRequest(head=f"{TENANT}/heads/text", inputs=[text("x")] * 1025),
        "INVALID_ARGUMENT",
        "1024",
        "1025",
    ),
    "unknown version": (
        "Predict",
        prediction_pb2.PredictRequest(head=f"{TENANT}/heads/text", inputs=[text("x")], version=99),
        "NOT_FOUND",
        "",
        "99",
    ),
    "heads for other rows": (
        "Predict",
        prediction_pb2.PredictRequest(
            head=f"{TENANT}/heads/text", inputs=[text("x")], heads=["a", "b"]
        ),
        "INVALID_ARGUMENT",
        "1",
        "2",
    ),
    "embed without a backbone loaded": (
        "Embed",
        extraction_pb2.EmbedRequest(tenant=TENANT, backbone="vgg/16", inputs=[text("x")]),
        "FAILED_PRECONDITION",
        f"{IMAGES}, {TEXTS}",
        "vgg/16",
    ),
    "too many to embed": (
        "Embed",
        extraction_pb2.EmbedRequest(tenant=TENANT, inputs=[text("x")] * 1025),
        "INVALID_ARGUMENT",
        "1024",
        "1025",
    ),
    "head on a backbone not loaded": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="new", backbone="vgg/16"),
        "FAILED_PRECONDITION",
        f"{IMAGES}, {TEXTS}",
        "vgg/16",
    ),
    "head without a backbone": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="new"),
        "FAILED_PRECONDITION",
        f"{IMAGES}, {TEXTS}",
        "",
    ),
    "unknown family": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(
            parent=TENANT, head_id="new", backbone=TEXTS, spec=heads_pb2.HeadSpec(family="magic")
        ),
        "INVALID_ARGUMENT",
        "*",
        "magic",
    ),
    "negative strength": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(
            parent=TENANT, head_id="new", backbone=TEXTS, spec=heads_pb2.HeadSpec(l2=-1)
        ),
        "INVALID_ARGUMENT",
        "*",
        "-1.0",
    ),
    "name too long": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="x" * 64, backbone=TEXTS),
        "INVALID_ARGUMENT",
        "*",
        "x" * 64,
    ),
    "name of a bad alphabet": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="a b", backbone=TEXTS),
        "INVALID_ARGUMENT",
        "*",
        "a b",
    ),
    "name with a line break": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="ab\n", backbone=TEXTS),
        "INVALID_ARGUMENT",
        "*",
        "ab\n",
    ),
    "name that climbs": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="..", backbone=TEXTS),
        "INVALID_ARGUMENT",
        "*",
        "..",
    ),
    "empty name": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, backbone=TEXTS),
        "INVALID_ARGUMENT",
        "*",
        "",
    ),
    "huge page": (
        "ListHeads",
        heads_pb2.ListHeadsRequest(parent=TENANT, page_size=1001),
        "INVALID_ARGUMENT",
        "1000",
        "1001",
    ),
    "largest page size": (
        "ListExamples",
        heads_pb2.ListExamplesRequest(head=f"{TENANT}/heads/text", page_size=2**32 - 1),
        "INVALID_ARGUMENT",
        "1000",
        str(2**32 - 1),
    ),
    "garbage page token": (
        "ListHeads",
        heads_pb2.ListHeadsRequest(parent=TENANT, page_token="%%%"),
        "INVALID_ARGUMENT",
        "from an earlier page",
        "%%%",
    ),
    "page token of another list": (
        "ListExamples",
        heads_pb2.ListExamplesRequest(head=f"{TENANT}/heads/text", page_token="ImEi"),
        "INVALID_ARGUMENT",
        "from an earlier page",
        "ImEi",
    ),
    "page token of a huge number": (
        "ListExamples",
        heads_pb2.ListExamplesRequest(
            head=f"{TENANT}/heads/text", page_token="OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"
        ),
        "INVALID_ARGUMENT",
        "from an earlier page",
        "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
    ),
    "page token that is not ASCII": (
        "ListHeadVersions",
        heads_pb2.ListHeadVersionsRequest(head=f"{TENANT}/heads/text", page_token="é"),
        "INVALID_ARGUMENT",
        "from an earlier page",
        "é",
    ),
    "unknown training": (
        "GetTraining",
        heads_pb2.GetTrainingRequest(name=f"{TENANT}/heads/text/trainings/none"),
        "NOT_FOUND",
        "",
        "none",
    ),
    "version 0": (
        "GetHeadVersion",
        heads_pb2.GetHeadVersionRequest(name=f"{TENANT}/heads/text/versions/0"),
        "INVALID_ARGUMENT",
        "*",
        f"{TENANT}/heads/text/versions/0",
    ),
    "version beyond 64 bits": (
        "ActivateHeadVersion",
        heads_pb2.ActivateHeadVersionRequest(name=f"{TENANT}/heads/text/versions/{10**30}"),
        "INVALID_ARGUMENT",
        "*",
        f"{TENANT}/heads/text/versions/{10**30}",
    ),
    "delete of an unknown head": (
        "DeleteHead",
        heads_pb2.DeleteHeadRequest(name=f"{TENANT}/heads/none"),
        "NOT_FOUND",
        "",
        f"{TENANT}/heads/none",
    ),
    "too many digests": (
        "FindMissingInputs",
        heads_pb2.FindMissingInputsRequest(
            head=f"{TENANT}/heads/text", digests=["0" * 64] * 10_001
        ),
        "INVALID_ARGUMENT",
        "10000",
        "10001",
    ),
    "examples for an unknown head": (
        "AddExamples",
        heads_pb2.AddExamplesRequest(
            head=f"{TENANT}/heads/none", examples=[heads_pb2.NewExample(input=text("x"))]
        ),
        "NOT_FOUND",
        "",
        f"{TENANT}/heads/none",
    ),
    "too many examples": (
        "AddExamples",
        heads_pb2.AddExamplesRequest(
            head=f"{TENANT}/heads/text", examples=[heads_pb2.NewExample(input=text("x"))] * 1025
        ),
        "INVALID_ARGUMENT",
        "1024",
        "1025",
    ),
    "feedback for an unknown head": (
        "SendFeedback",
        prediction_pb2.SendFeedbackRequest(
            head=f"{TENANT}/heads/none",
            feedback=[prediction_pb2.Feedback(input=text("x"), label="a")],
        ),
        "NOT_FOUND",
        "",
        f"{TENANT}/heads/none",
    ),
    "training of an unknown head": (
        "TrainHead",
        heads_pb2.TrainHeadRequest(head=f"{TENANT}/heads/none"),
        "NOT_FOUND",
        "",
        f"{TENANT}/heads/none",
    ),
    "training with a bad spec": (
        "TrainHead",
        heads_pb2.TrainHeadRequest(
            head=f"{TENANT}/heads/text", spec=heads_pb2.HeadSpec(l2=math.inf)
        ),
        "INVALID_ARGUMENT",
        "*",
        "inf",
    ),
    "export of an unknown version": (
        "ExportHead",
        heads_pb2.ExportHeadRequest(name=f"{TENANT}/heads/text", version=77),
        "NOT_FOUND",
        "",
        "77",
    ),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
@pytest.mark.usefixtures("_unchanged")
def test_bad_request_says_what_is_wrong(
    name: str, transport: Transport, heads: dict[str, str], server: Running
) -> None:
    method, request, code, limit, value = BAD_REQUESTS[name]
    with pytest.raises(Refused) as refused:
        transport.call(method, request)
    error = refused.value
    assert error.code == code, error
    assert error.field
    if limit != "*":
        assert error.limit == limit
    assert error.value == value
    assert_tells_no_secret(error.text)
    assert_logged(server, error.request_id)


def test_rest_and_grpc_say_the_same(server: Running, heads: dict[str, str]) -> None:
    over_grpc, over_rest = Grpc(server.grpc), Rest(server.rest)
    told = []
    for connected in (over_grpc, over_rest):
        with pytest.raises(Refused) as refused:
            connected.call("ListHeads", heads_pb2.ListHeadsRequest(parent=TENANT, page_size=5000))
        error = refused.value
        told.append((error.code, error.message, error.field, error.limit, error.value))
        connected.close()
    assert told[0] == told[1]
