"""Captured inputs are reviewed in the terminal, and the accuracy of what was served is told."""

import json

import pytest

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run
from trunkline import Client
from trunkline.v1 import reviews_pb2


@pytest.fixture
def captured(recorder: Recorder, client: Client) -> list[str]:
    client.create_head("acme/mood", "minilm/l6-v2")
    client.add_examples("acme/mood", [("one", "good"), ("two", "bad")])
    return recorder.capture(["a", "b", "c", "d", "e", "f", "g"], "good", 0.6)


def states(recorder: Recorder, ids: list[str]) -> list[str]:
    names = (reviews_pb2.ReviewState.Name(recorder.reviews[name].state) for name in ids)
    return [name.removeprefix("REVIEW_STATE_").lower() for name in names]


def test_answers_confirm_correct_skip_or_throw_away(
    run: Run, recorder: Recorder, captured: list[str]
) -> None:
    result = run("review", "acme/mood", answers="\nbad\ns\nn\nj\n\nq\n")
    assert result.exit_code == 0, result.stderr
    expected = ["confirmed", "corrected", "skipped", "none_of_these", "junk", "confirmed"]
    assert states(recorder, captured) == [*expected, "waiting"]
    assert recorder.reviews[captured[1]].label == "bad"
    assert result.stdout == (
        "confirmed 2, corrected 1 (good -> bad 1), skipped 1, none of these 1, junk 1\n"
    )
    assert "s: skip; n: none of these; j: junk; b: back" in result.stderr
    assert "[6/7] f" in result.stderr
    assert f"\nlike like (0.5000, {'0' * 16}…), like" in result.stderr
    assert {request.neighbours for request in recorder.asked("ListReviews")} == {3}


def test_what_was_said_is_sent_before_more_is_asked(
    run: Run, recorder: Recorder, captured: list[str]
) -> None:
    run("review", "acme/mood", "--count", 6, answers="\n" * 6)
    sent = [len(request.judgements) for request in recorder.asked("Review")]
    assert sent == [5, 1]
    leases = recorder.asked("ListReviews")
    assert [(request.page_size, request.lease) for request in leases] == [(5, True), (1, True)]
    assert len({request.reviewer for request in leases}) == 1


def test_an_answer_is_taken_back(run: Run, recorder: Recorder, captured: list[str]) -> None:
    run("review", "acme/mood", answers="\n" * 5 + "b\nj\nq\n")
    assert states(recorder, captured)[:6] == [*["confirmed"] * 4, "junk", "waiting"]


def test_what_others_have_leased_meanwhile_is_left_out(
    run: Run, recorder: Recorder, captured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline.cli.labelling.queue._FRESH_SECONDS", 0.0)

    def taken(request: object, context: object) -> None:
        recorder.leased.add(captured[1])

    recorder.hooks["ListLabels"] = [taken]
    result = run("review", "acme/mood", "--count", 2, "--random", answers="\n\n")
    assert "[2/2] c" in result.stderr
    assert states(recorder, captured)[:3] == ["confirmed", "waiting", "confirmed"]


def test_nothing_to_review_is_said(run: Run, client: Client) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    result = run("review", "acme/mood", "--json")
    assert "nothing waits for a review" in result.stderr
    assert json.loads(result.stdout)["confirmed"] == 0


def test_review_that_is_gone_is_reported(run: Run, recorder: Recorder, captured: list[str]) -> None:
    def gone(request: object, context: object) -> None:
        recorder.reviews.pop(captured[0], None)

    recorder.hooks["Review"] = [gone]
    result = run("review", "acme/mood", "--count", 1, answers="\n")
    assert result.exit_code == 1
    assert "failed: a: no review" in result.stderr


def test_accuracy_is_told_with_its_interval(
    run: Run, recorder: Recorder, captured: list[str]
) -> None:
    share = reviews_pb2.ServedAccuracy(
        accuracy=0.9, accuracy_low=0.7, accuracy_high=0.95, right=18, wrong=2, unknown=3
    )
    none = reviews_pb2.ServedAccuracy(accuracy_high=1.0, unknown=3)
    recorder.served = reviews_pb2.GetServedAccuracyResponse(
        accuracy=share,
        classes=[reviews_pb2.ServedClass(label="good", precision=share, recall=none)],
        waiting=3,
        junk=1,
    )
    result = run("accuracy", "acme/mood", "--version", 2)
    assert "90.0% (70.0% to 95.0%)" in result.stdout
    assert "unknown (0.0% to 100.0%)" in result.stdout
    assert "3 (waiting 3, skipped 0, expired 0)" in result.stdout
    (request,) = recorder.asked("GetServedAccuracy")
    assert (request.version, request.period_seconds) == (2, 86_400)
    document = json.loads(run("accuracy", "acme/mood", "--json").stdout)
    assert document["accuracy"]["accuracy_low"] == 0.7
    assert document["classes"][0]["recall"]["accuracy"] is None
