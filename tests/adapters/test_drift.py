"""The drift detector: silent while nothing changes, soon and well dated when accuracy falls."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adapters import InvalidArgument
from adapters.drift import DriftDetector


def stream(*parts: tuple[float, int], seed: int = 0) -> list[bool]:
    """Outcomes of (accuracy, length) after (accuracy, length)."""
    rng = np.random.default_rng(seed)
    return [bool(x) for accuracy, n in parts for x in rng.random(n) < accuracy]


def detections(outcomes: list[bool], delta: float = 0.002) -> list[tuple[int, int]]:
    """(when, window right after) of all detections."""
    detector = DriftDetector(delta)
    return [(i, detector.window) for i, right in enumerate(outcomes) if detector.observe(right)]


@pytest.mark.parametrize("seed", range(5))
def test_collapse_is_noticed_within_tens_of_outcomes_and_well_dated(seed: int) -> None:
    found = detections(stream((0.9, 200), (0.1, 200), seed=seed))
    assert len(found) == 1
    when, window = found[0]
    assert 200 <= when < 240
    assert abs(when + 1 - window - 200) <= 8


def test_change_that_leaves_no_doubt_is_dated_to_the_outcome() -> None:
    ((when, window),) = detections([True] * 200 + [False] * 100)
    assert when + 1 - window == 200


@pytest.mark.parametrize("seed", range(3))
def test_moderate_fall_is_noticed_too(seed: int) -> None:
    found = detections(stream((0.8, 300), (0.5, 500), seed=seed))
    assert len(found) == 1
    when, window = found[0]
    assert abs(when + 1 - window - 300) <= 50


def test_constant_accuracy_raises_hardly_any_alarm() -> None:
    alarms = [len(detections(stream((accuracy, 1000)))) for accuracy in (0.0, 0.5, 0.8, 0.95, 1.0)]
    assert sum(alarms) == 0


def test_a_head_that_learns_does_not_drift() -> None:
    outcomes = stream((0.3, 200), (0.9, 300))
    assert detections(outcomes) == []
    detector = DriftDetector()
    for right in outcomes:
        detector.observe(right)
    assert detector.accuracy == pytest.approx(0.9, abs=0.05)
    assert detector.window == pytest.approx(300, abs=20)


def test_every_fall_is_noticed_once() -> None:
    outcomes = stream((0.9, 200), (0.2, 150), (0.9, 200), (0.2, 150))
    assert [when // 350 for when, _ in detections(outcomes)] == [0, 1]


def test_the_same_outcomes_give_the_same_state() -> None:
    outcomes = stream((0.9, 100), (0.4, 100))
    one, other = DriftDetector(), DriftDetector()
    for right in outcomes:
        assert one.observe(right) == other.observe(right)
        assert (one.window, one.accuracy) == (other.window, other.accuracy)


def test_nothing_seen_is_no_accuracy() -> None:
    detector = DriftDetector()
    assert (detector.window, detector.accuracy) == (0, None)
    detector.observe(True)
    assert (detector.window, detector.accuracy) == (1, 1.0)


@pytest.mark.parametrize("delta", [0.0, 1.0, math.nan])
def test_an_impossible_delta_is_refused(delta: float) -> None:
    with pytest.raises(InvalidArgument) as raised:
        DriftDetector(delta)
    assert raised.value.field == "delta"
