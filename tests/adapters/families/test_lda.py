"""Discriminants follow their formula, and what is held out is exact."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from adapters.families.lda import LdaFit
from adapters.problem import Problem
from tests.adapters.data import noisy, problem_of

Array = NDArray[np.float64]

shapes = pytest.mark.parametrize(
    "shape", [(20, 50, 3), (50, 20, 3), (21, 20, 2), (20, 20, 4)], ids=str
)
strengths = pytest.mark.parametrize("l2", [0.1, 3.0, 300.0])
weightings = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])


def by_formula(problem: Problem, l2: float, kept: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Weight and bias as the docstring of the family defines them, on some rows."""
    rows, weights = problem.features[kept], problem.weights[kept]
    owner = problem.one_hot[kept] * weights[:, None]
    means = (owner.T @ rows) / owner.sum(axis=0)[:, None]
    apart = rows - means[problem.targets[kept]]
    scatter = (apart * weights[:, None]).T @ apart + l2 * np.eye(rows.shape[1])
    centre = weights @ rows / weights.sum()
    weight = weights.sum() * np.linalg.solve(scatter, (means - centre).T).T
    share = np.log(owner.sum(axis=0) / weights.sum())
    return weight, share - np.einsum("cd,cd->c", means + centre, weight) / 2


def brute_force(problem: Problem, l2: float, folds: NDArray[np.intp]) -> Array:
    """Log-probabilities of each example by a model fitted anew without its fold."""
    expected = np.empty((problem.n, problem.classes))
    for example, row in enumerate(problem.originals):
        weight, bias = by_formula(problem, l2, folds != folds[row])
        expected[example] = problem.features[row] @ weight.T + bias
    log_probabilities: Array = log_softmax(expected, axis=1)
    return log_probabilities


@shapes
@strengths
@weightings
def test_fit_is_the_formula(shape: tuple[int, int, int], l2: float, weighted: bool) -> None:
    problem = problem_of(shape, weighted=weighted)
    weight, bias = LdaFit(problem).solve(l2)
    expected = by_formula(problem, l2, np.ones(problem.rows, dtype=bool))
    np.testing.assert_allclose(weight, expected[0], rtol=1e-6, atol=1e-8 * np.abs(weight).max())
    np.testing.assert_allclose(bias, expected[1], rtol=1e-6)


@shapes
@weightings
def test_where_the_origin_of_the_features_is_does_not_matter(
    shape: tuple[int, int, int], weighted: bool
) -> None:
    plain = problem_of(shape, weighted=weighted)
    moved = Problem.of(plain.features + 2.0, plain.targets, plain.classes, 0, plain.weights)
    weight, bias = LdaFit(moved).solve(1.0)
    expected = by_formula(moved, 1.0, np.ones(moved.rows, dtype=bool))
    np.testing.assert_allclose(weight, expected[0], rtol=1e-6, atol=1e-6 * np.abs(weight).max())
    np.testing.assert_allclose(bias, expected[1], rtol=1e-6)
    unmoved = LdaFit(plain).solve(1.0)[0]
    np.testing.assert_allclose(weight, unmoved, rtol=1e-6, atol=1e-6 * np.abs(weight).max())


@pytest.mark.parametrize("shape", [(200, 10, 4), (300, 20, 2)], ids=str)
def test_probabilities_equal_scikit_learn_without_a_penalty(shape: tuple[int, int, int]) -> None:
    embeddings, labels = noisy(*shape, distance=1.0)
    targets = np.unique(labels, return_inverse=True)[1]
    problem = Problem.of(embeddings.astype(np.float64), targets, shape[2], seed=0)
    weight, bias = LdaFit(problem).solve(1e-9)
    model = LinearDiscriminantAnalysis(solver="lsqr").fit(problem.features, targets)
    computed = log_softmax(problem.features @ weight.T + bias, axis=1)
    np.testing.assert_allclose(computed, model.predict_log_proba(problem.features), atol=1e-6)


@shapes
@strengths
@weightings
def test_leave_one_out_equals_brute_force(
    shape: tuple[int, int, int], l2: float, weighted: bool
) -> None:
    problem = problem_of(shape, weighted=weighted)
    computed = LdaFit(problem).leave_one_out(np.array([l2, 7.0]))[0]
    expected = brute_force(problem, l2, problem.groups)
    np.testing.assert_allclose(log_softmax(computed, axis=1), expected, rtol=1e-5, atol=1e-6)


@shapes
@strengths
@weightings
@pytest.mark.parametrize("views", [0, 2])
def test_leaving_folds_out_equals_brute_force(
    shape: tuple[int, int, int], l2: float, weighted: bool, views: int
) -> None:
    problem = problem_of(shape, weighted=weighted, views=views)
    folds = problem.deal(5)
    computed = LdaFit(problem).held_out(l2, folds)
    expected = brute_force(problem, l2, folds)
    np.testing.assert_allclose(log_softmax(computed, axis=1), expected, rtol=1e-5, atol=1e-6)
