"""Embeddings as they are, with variances over many orders of magnitude, cost no precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray

import adapters
from adapters import HeadSpec
from adapters.live import live_head
from adapters.problem import Problem
from tests.adapters.data import Embeddings

Array = NDArray[np.float64]


def correlated(n: int, dim: int) -> tuple[Embeddings, list[str]]:
    """Embeddings like a deep network's: few directions hold nearly all variance."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(n, dim)) * np.logspace(0, -7, dim)
    mixing = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    labels = np.argmax(latent[:, 5:8] + 0.02 * rng.normal(size=(n, 3)), axis=1)
    return (latent @ mixing).astype(np.float32), [f"class {label}" for label in labels]


def distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max())


@pytest.mark.parametrize("shape", [(150, 300), (900, 300)], ids=["n < d", "n > d"])
@pytest.mark.parametrize("l2", [0.01, None])
def test_ridge_equals_a_dense_solve(shape: tuple[int, int], l2: float | None) -> None:
    embeddings, labels = correlated(*shape)
    head = adapters.fit(embeddings, labels, HeadSpec("ridge", l2=l2), fingerprint="f00d").head
    assert head.front is not None
    assert head.l2 is not None
    features = head.front.features(embeddings)
    one_hot = np.eye(3)[head.class_indices(labels)]
    centred = features - features.mean(axis=0)
    moment = centred.T @ centred + head.l2 * np.eye(shape[1])
    weight = scipy.linalg.solve(moment, centred.T @ one_hot, assume_a="pos").T
    bias = one_hot.mean(axis=0) - weight @ features.mean(axis=0)
    weight, bias = head.front.fold(weight, bias)
    assert distance(head.weight, weight) < 1e-6
    assert distance(head.bias, bias) < 1e-6


@pytest.mark.parametrize("family", ["ridge", "lda"])
@pytest.mark.parametrize("shape", [(150, 300), (900, 300)], ids=["n < d", "n > d"])
def test_trained_head_and_live_copy_agree(family: str, shape: tuple[int, int]) -> None:
    embeddings, labels = correlated(*shape)
    head = adapters.fit(embeddings, labels, HeadSpec(family), fingerprint="f00d").head
    live = live_head(head, embeddings, labels).head
    assert distance(live.weight, head.weight) < 1e-6
    assert distance(live.bias, head.bias) < 1e-6


@pytest.mark.parametrize("n", [60, 400])
def test_copies_of_examples_leave_strengths_where_they_were(n: int) -> None:
    """Rounding must not decide how many axes there are, nor these what is tried."""
    embeddings, _ = correlated(n // 2, 100)
    features = np.repeat(embeddings, 2, axis=0).astype(np.float64)
    problem = Problem.of(features, np.arange(n) % 2, 2, seed=0)
    trace = float(np.sum((features - features.mean(axis=0)) ** 2))
    assert problem.scale == pytest.approx(trace / min(n - 1, 100), rel=1e-6)
