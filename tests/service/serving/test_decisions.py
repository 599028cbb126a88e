"""What is accepted of a head's answers, beside its labels and probabilities."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from adapters import DecisionCurve, Head
from adapters.decisions import DecisionPoint
from service.serving.decisions import acceptance_of
from service.serving.scoring import Decide, score
from trunkline.v1 import prediction_pb2

ACCEPT, REVIEW = prediction_pb2.DECISION_ACCEPT, prediction_pb2.DECISION_REVIEW
RULE = {"precision": 0.9, "confidence": 0.95}


def head() -> Head:
    weight = np.array([[1.0], [-1.0]], np.float32)
    return Head("ridge", ("up", "down"), weight, np.zeros(2, np.float32), "f")


def curve(right: int) -> dict[str, object]:
    points = (DecisionPoint(0.8, 100, 100, 100.0), DecisionPoint(0.0, 200, right, 200.0))
    return asdict(DecisionCurve(points))


async def decided(vectors: list[list[float]], decide: Decide | None) -> list[int]:
    rows = np.array(vectors, np.float32)[:, :, None]
    message, _ = await score(head(), rows, 0, None, decide)
    return list(message.decisions)


async def test_what_is_more_probable_than_the_threshold_is_accepted() -> None:
    rows = [[2.0], [0.1], [-2.0], [0.0]]
    assert await decided(rows, None) == []
    assert await decided(rows, Decide(0.9)) == [ACCEPT, REVIEW, ACCEPT, REVIEW]
    assert await decided(rows, Decide(0.0)) == [ACCEPT] * 4
    assert await decided(rows, Decide(None)) == [REVIEW] * 4
    sure = float((await probabilities(2.0))[0])
    assert await decided([[2.0]], Decide(sure)) == [REVIEW]
    assert await decided([[2.0]], Decide(np.nextafter(sure, 0))) == [ACCEPT]


async def probabilities(value: float) -> np.ndarray:
    rows = np.full((1, 1, 1), value, np.float32)
    message, _ = await score(head(), rows, 0, None)
    return np.frombuffer(message.probabilities.data, "<f4")


async def test_labels_that_only_the_live_copy_knows_are_for_review() -> None:
    decide = Decide(0.5, frozenset({"down"}))
    assert await decided([[2.0], [-2.0]], decide) == [ACCEPT, REVIEW]


@pytest.mark.parametrize(
    ("views", "decision"),
    [
        ([3.0, 3.0, 3.0], ACCEPT),
        ([0.1, 3.0, 3.0], REVIEW),  # sure only because of its views
        ([2.0, -9.0, -9.0], REVIEW),  # another label than by itself
        ([2.0, 2.0, -0.1], ACCEPT),
    ],
)
async def test_averaged_answers_are_accepted_if_the_input_by_itself_says_the_same(
    views: list[float], decision: int
) -> None:
    assert await decided([views], Decide(0.9)) == [decision]


def test_a_version_accepts_what_its_report_shows() -> None:
    assert acceptance_of(None, "training", curve(200)) is None
    everything = acceptance_of(RULE, "training", curve(200))
    assert everything is not None
    assert (everything.threshold, everything.share) == (0.0, 1.0)
    half = acceptance_of(RULE, "training", curve(150))
    assert half is not None
    assert (half.threshold, half.share) == (0.8, 0.5)


@pytest.mark.parametrize(
    ("source", "why"),
    [("import", "imported"), ("training", "train the head again"), ("feedback", "tail")],
)
def test_a_version_without_held_out_predictions_accepts_nothing_and_says_why(
    source: str, why: str
) -> None:
    found = acceptance_of(RULE, source, None)
    assert found is not None
    assert found.threshold is None
    assert why in found.reason
