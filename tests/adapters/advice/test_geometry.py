"""Evidence, effective rank and similarity against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adapters.advice.geometry import effective_rank, log_evidence, mean_similarity

Array = NDArray[np.float64]


def evidence(features: Array, column: Array, alpha: float, beta: float) -> float:
    """Log density of the targets: N(0, I / beta + F F' / alpha)."""
    covariance = np.eye(len(column)) / beta + features @ features.T / alpha
    _, volume = np.linalg.slogdet(covariance)
    distance = column @ np.linalg.solve(covariance, column)
    return float(-(distance + volume + len(column) * math.log(2 * math.pi)) / 2)


def largest_evidence(features: Array, column: Array) -> float:
    """Its maximum over both precisions, searched without any algebra."""
    best = -math.inf
    for start in ((0.0, 0.0), (4.0, 2.0), (-2.0, 3.0)):
        found = scipy.optimize.minimize(
            lambda logs: -evidence(features, column, *np.exp(logs)),
            start,
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
        )
        best = max(best, -float(found.fun))
    return best


@pytest.mark.parametrize(("n", "dim", "classes"), [(40, 3, 2), (12, 20, 2), (30, 10, 3)])
def test_log_evidence_is_the_maximum_of_the_evidence(n: int, dim: int, classes: int) -> None:
    rng = np.random.default_rng(n)
    targets = np.arange(n) % classes
    features = rng.normal(size=(n, dim)) + rng.normal(size=(classes, dim))[targets]
    columns = np.eye(classes)[targets].T
    wanted = np.mean([largest_evidence(features, column) for column in columns]) / n
    assert log_evidence(features, targets) == pytest.approx(wanted, abs=1e-6)


def test_the_fixed_point_of_the_paper_is_no_better() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(50) % 2
    features = rng.normal(size=(50, 8)) + rng.normal(size=(2, 8))[targets]
    wanted = np.mean([_fixed_point(features, column) for column in np.eye(2)[targets].T])
    assert log_evidence(features, targets) == pytest.approx(wanted, abs=1e-6)


def _fixed_point(features: Array, column: Array) -> float:
    """Algorithm 1 of You et al. 2021, run until it moves no more; log evidence per example."""
    n, dim = features.shape
    alpha = beta = 1.0
    for _ in range(2000):
        hessian = alpha * np.eye(dim) + beta * features.T @ features
        mean = beta * np.linalg.solve(hessian, features.T @ column)
        squares = np.linalg.eigvalsh(features.T @ features)
        gamma = float((beta * squares / (alpha + beta * squares)).sum())
        residual = float(((features @ mean - column) ** 2).sum())
        alpha, beta = gamma / float(mean @ mean), (n - gamma) / residual
    return float(evidence(features, column, alpha, beta) / n)


def test_labels_that_follow_the_embeddings_have_more_evidence() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(200, 10))
    following = (features[:, 0] > 0).astype(np.intp)
    assert log_evidence(features, following) > log_evidence(features, rng.permutation(following))


def test_labels_that_are_a_linear_function_have_finite_evidence() -> None:
    targets = np.arange(20) % 2
    assert math.isfinite(log_evidence(np.eye(2)[targets], targets))
    assert math.isfinite(log_evidence(np.zeros((20, 3)), targets))


def test_one_direction_has_rank_one() -> None:
    line = np.outer(np.arange(10.0), np.array([1.0, -2.0, 0.5]))
    assert effective_rank(line + 3) == pytest.approx(1)


@pytest.mark.parametrize("dim", [1, 2, 7, 30])
def test_directions_that_are_alike_all_count(dim: int) -> None:
    corners = np.vstack([np.eye(dim), -np.eye(dim)])
    assert effective_rank(corners) == pytest.approx(dim)


def test_embeddings_that_are_all_equal_have_no_rank() -> None:
    assert effective_rank(np.full((5, 3), 0.1, np.float32)) == 0


@given(
    seed=st.integers(0, 2**31),
    n=st.integers(2, 20),
    dim=st.integers(1, 20),
    scale=st.floats(0.01, 100),
)
@settings(max_examples=40, deadline=None)
def test_rank_lies_between_one_and_what_there_is_room_for(
    seed: int, n: int, dim: int, scale: float
) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    rank = effective_rank(rows)
    assert 1 - 1e-9 <= rank <= min(n - 1, dim) + 1e-9
    assert effective_rank(scale * rows - 5) == pytest.approx(rank, rel=1e-6)


@given(seed=st.integers(0, 2**31), n=st.integers(2, 15), dim=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_similarity_is_the_mean_over_all_pairs(seed: int, n: int, dim: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [float(units[i] @ units[j]) for i in range(n) for j in range(i)]
    assert mean_similarity(rows) == pytest.approx(np.mean(pairs), abs=1e-9)
