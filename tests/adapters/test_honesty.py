"""What a head says about itself is, on average, true of data it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import adapters
from adapters import Conformal, HeadSpec
from adapters.estimate import calibration_error, confidences, reliability
from tests.adapters.data import noisy

pytestmark = pytest.mark.costly

SPLITS = 20
HELD_OUT = 1000
ONE_POINT = 0.01
CALIBRATED = 0.05
LEVELS = (0.8, 0.9, 0.95)

Data = tuple[NDArray[np.float32], list[str]]


def digits() -> Data:
    data = load_digits()
    return data.data.astype(np.float32), [str(target) for target in data.target]


def three_overlapping_classes() -> Data:
    return noisy(2000, 100, 3, distance=2.0)


def two_classes_without_a_difference() -> Data:
    return noisy(2000, 300, 2, distance=0.0)


@dataclass(frozen=True)
class Trials:
    """Estimates of heads trained on seeded splits, and what held-out data said.

    `right` and `confidence` have the shape (splits, held-out examples), `covered` has the shape
    (splits, levels).
    """

    estimates: NDArray[np.float64]
    right: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    covered: NDArray[np.float64]


@cache
def trials(load: Callable[[], Data], family: str, size: int) -> Trials:
    embeddings, labels = load()
    estimates, right, confidence, covered = [], [], [], []
    for seed in range(SPLITS):
        train, test, known, hidden = train_test_split(
            embeddings,
            labels,
            train_size=size,
            test_size=HELD_OUT,
            stratify=labels,
            random_state=seed,
        )
        fitted = adapters.fit(train, known, HeadSpec(family), fingerprint="f00d")
        assert fitted.report.estimate is not None
        assert fitted.held_out is not None
        head, logits = fitted.head, fitted.head.logits(test)
        truth = head.class_indices(hidden)
        conformal = Conformal.of(fitted.held_out, head.class_indices(known), head.temperature)
        rows = np.arange(HELD_OUT)
        estimates.append(fitted.report.estimate.accuracy)
        right.append(logits.argmax(axis=1) == truth)
        confidence.append(confidences(logits, head.temperature))
        covered.append([conformal.sets(logits, level)[rows, truth].mean() for level in LEVELS])
    return Trials(np.array(estimates), np.array(right), np.array(confidence), np.array(covered))


# Of many examples one case is seen each time, and the others with the tests that take long.
CASES = [
    pytest.param(
        *(load, family, size), marks=[pytest.mark.long] * (size == 500 and family != "auto")
    )
    for load in (digits, three_overlapping_classes, two_classes_without_a_difference)
    for family in ("ridge", "logistic", "lda", "prototype", "auto")
    for size in (200, 500)
    # Choosing among families misleads most where examples are few, and costs most where many.
    if (family, size) != ("auto", 500) or load is three_overlapping_classes
]


@pytest.mark.parametrize(("load", "family", "size"), CASES)
def test_estimate_is_within_a_point_of_held_out_accuracy(
    load: Callable[[], Data], family: str, size: int
) -> None:
    seen = trials(load, family, size)
    gaps = seen.estimates - seen.right.mean(axis=1)
    error = np.std(gaps, ddof=1) / np.sqrt(SPLITS)
    assert abs(np.mean(gaps)) <= ONE_POINT + 2 * error


@pytest.mark.parametrize(("load", "family", "size"), CASES)
def test_probabilities_are_calibrated_on_held_out_data(
    load: Callable[[], Data], family: str, size: int
) -> None:
    seen = trials(load, family, size)
    bins = reliability(seen.confidence.ravel(), seen.right.ravel())
    assert calibration_error(bins) <= CALIBRATED


@pytest.mark.parametrize(("load", "family", "size"), CASES)
def test_conformal_sets_cover_held_out_data_as_often_as_asked(
    load: Callable[[], Data], family: str, size: int
) -> None:
    covered = trials(load, family, size).covered
    error = np.std(covered, axis=0, ddof=1) / np.sqrt(SPLITS)
    assert (np.abs(covered.mean(axis=0) - LEVELS) <= ONE_POINT + 2 * error).all()
