"""Answers that a proxy cuts off, as HAProxy does when the server behind it dies amid one."""

import threading
from typing import Any

import grpc
import pytest

import trunkline
from tests.trunkline.recording import Recorder
from tests.trunkline.steps import TEXTS
from trunkline import Client

CUT_OFF = [
    (grpc.StatusCode.UNKNOWN, "Stream removed (Data frame with END_STREAM flag received)"),
    (
        grpc.StatusCode.INTERNAL,
        "Stream removed (RST_STREAM (Received RST_STREAM with error code 0))",
    ),
]


@pytest.mark.parametrize(("code", "words"), CUT_OFF)
def test_answer_that_was_cut_off_is_asked_for_again(
    recorder: Recorder, client: Client, code: grpc.StatusCode, words: str
) -> None:
    def cut_off(_: Any, context: grpc.ServicerContext) -> None:
        context.abort(code, words)

    client.create_head("acme/mood", "minilm/l6-v2")
    client.add_examples("acme/mood", TEXTS)
    recorder.hooks["TrainHead"] = [cut_off]
    client.train("acme/mood")
    recorder.hooks["Predict"] = [cut_off]
    assert len(client.predict("acme/mood", ["good"])) == 1


def test_what_a_server_says_itself_is_no_connection_that_was_cut(
    recorder: Recorder, client: Client
) -> None:
    def fail(_: Any, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("x-request-id", "17"),))
        context.abort(grpc.StatusCode.INTERNAL, "it says RST_STREAM")

    recorder.hooks["Predict"] = [fail]
    with pytest.raises(trunkline.TrunklineError) as caught:
        client.predict("acme/mood", ["good"])
    assert caught.value.code == "INTERNAL"


@pytest.mark.parametrize(("code", "words"), CUT_OFF)
def test_answer_that_is_cut_off_at_the_deadline_is_said_to_be_late(
    recorder: Recorder, client: Client, code: grpc.StatusCode, words: str
) -> None:
    asked: list[None] = []

    def cut_off(_: Any, context: grpc.ServicerContext) -> None:
        asked.append(None)
        threading.Event().wait((context.time_remaining() or 0) - 0.05)
        context.abort(code, words)

    recorder.hooks["Predict"] = [cut_off]
    with pytest.raises(trunkline.DeadlineExceeded, match=r"no answer within|Deadline") as caught:
        client.predict("acme/mood", ["good"], timeout=1.0)
    assert "Stream removed" not in caught.value.message.split(":")[0]
    assert len(asked) == 1
