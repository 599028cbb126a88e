"""A head's estimate of itself is, on average, its accuracy on data it has not seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import adapters
from adapters import HeadSpec
from tests.adapters.data import noisy

SPLITS = 20
HELD_OUT = 1000
ONE_POINT = 0.01


Data = tuple[NDArray[np.float32], list[str]]


def digits() -> Data:
    data = load_digits()
    return data.data.astype(np.float32), [str(target) for target in data.target]


def three_overlapping_classes() -> Data:
    return noisy(2000, 100, 3, distance=2.0)


def two_classes_without_a_difference() -> Data:
    return noisy(2000, 300, 2, distance=0.0)


@pytest.mark.parametrize(
    "load", [digits, three_overlapping_classes, two_classes_without_a_difference]
)
@pytest.mark.parametrize("family", ["ridge", "logistic", "auto"])
@pytest.mark.parametrize("size", [200, 500])
def test_estimate_is_within_a_point_of_held_out_accuracy(
    load: Callable[[], Data], family: str, size: int
) -> None:
    embeddings, labels = load()
    gaps = []
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
        truth = adapters.evaluate(fitted.head, test, hidden)
        gaps.append(fitted.report.estimate.accuracy - truth.accuracy)
    error = np.std(gaps, ddof=1) / np.sqrt(SPLITS)
    assert abs(np.mean(gaps)) <= ONE_POINT + 2 * error
