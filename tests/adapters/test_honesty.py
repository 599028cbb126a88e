"""A head's estimate of itself is, on average, its accuracy on data it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import adapters
from adapters import HeadSpec
from tests.adapters.data import blobs

SPLITS = 20
HELD_OUT = 1000
ONE_POINT = 0.01


def digits() -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    data = load_digits()
    return data.data.astype(np.float32), data.target.astype(str)


def overlapping_classes() -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    embeddings, labels = blobs(3000, 150, 3, distance=1.8)
    return embeddings, np.array(labels)


def two_faint_classes() -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    embeddings, labels = blobs(3000, 300, 2, distance=1.0)
    return embeddings, np.array(labels)


@pytest.mark.parametrize("data", [digits, overlapping_classes, two_faint_classes])
@pytest.mark.parametrize("family", ["ridge", "logistic", "auto"])
@pytest.mark.parametrize("size", [50, 200])
def test_estimate_is_within_a_point_of_held_out_accuracy(
    data: object, family: str, size: int
) -> None:
    assert callable(data)
    embeddings, labels = data()
    gaps = []
    for seed in range(SPLITS):
        train, test = train_test_split(
            np.arange(len(labels)),
            train_size=size,
            test_size=HELD_OUT,
            stratify=labels,
            random_state=seed,
        )
        fitted = adapters.fit(
            embeddings[train], labels[train].tolist(), HeadSpec(family), fingerprint="f00d"
        )
        truth = adapters.evaluate(fitted.head, embeddings[test], labels[test].tolist())
        assert fitted.report.estimate is not None
        gaps.append(fitted.report.estimate.accuracy - truth.accuracy)
    error = np.std(gaps, ddof=1) / np.sqrt(SPLITS)
    print(data.__name__, family, size, np.mean(gaps), error)
    assert abs(np.mean(gaps)) <= ONE_POINT + 2 * error
