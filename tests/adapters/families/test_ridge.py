"""Ridge is the closed form it claims to be, and its leave-one-out is exact."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge as Reference

import adapters
from adapters import HeadSpec
from adapters.families.lda import Lda, LdaFit
from adapters.families.least_squares import LeastSquares
from adapters.families.ridge import RidgeFit
from adapters.problem import MAX_VALIDATION_LOGITS, Problem
from adapters.training import MAX_AUTO_COST
from tests.adapters.data import blobs, problem_of

Array = NDArray[np.float64]

shapes = pytest.mark.parametrize(
    "shape", [(20, 50, 3), (50, 20, 3), (21, 20, 2), (20, 20, 4)], ids=str
)
strengths = pytest.mark.parametrize("l2", [1e-3, 1.0, 300.0])
weightings = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])


def reference(problem: Problem, l2: float, kept: NDArray[np.bool_]) -> Reference:
    """scikit-learn's ridge on some rows."""
    model = Reference(alpha=l2, solver="svd" if (problem.weights == 1).all() else "cholesky")
    return model.fit(problem.features[kept], problem.one_hot[kept], problem.weights[kept])


def brute_force(problem: Problem, l2: float, folds: NDArray[np.intp]) -> Array:
    """Predictions for each example by a model fitted anew without its fold."""
    expected = np.empty((problem.n, problem.classes))
    for example, row in enumerate(problem.originals):
        model = reference(problem, l2, folds != folds[row])
        expected[example] = model.predict(problem.features[row : row + 1])[0]
    return expected


@shapes
@strengths
@weightings
def test_leave_one_out_equals_brute_force(
    shape: tuple[int, int, int], l2: float, weighted: bool
) -> None:
    problem = problem_of(shape, weighted=weighted)
    expected = brute_force(problem, l2, problem.groups)
    computed = RidgeFit(problem).leave_one_out(np.array([l2, 7.0]))
    np.testing.assert_allclose(computed[0], expected, rtol=1e-6, atol=1e-7)


@shapes
@weightings
def test_leave_one_out_leaves_all_views_of_an_example_out(
    shape: tuple[int, int, int], weighted: bool
) -> None:
    problem = problem_of(shape, weighted=weighted, views=2)
    expected = brute_force(problem, 1.0, problem.groups)
    computed = RidgeFit(problem).leave_one_out(np.array([1.0]))[0]
    np.testing.assert_allclose(computed, expected, rtol=1e-6, atol=1e-7)


@shapes
@strengths
@weightings
def test_leaving_folds_out_equals_brute_force(
    shape: tuple[int, int, int], l2: float, weighted: bool
) -> None:
    problem = problem_of(shape, weighted=weighted)
    folds = problem.deal(6)
    computed = RidgeFit(problem).held_out(l2, folds)
    np.testing.assert_allclose(computed, brute_force(problem, l2, folds), rtol=1e-5, atol=1e-6)


@shapes
@strengths
@weightings
def test_fit_equals_scikit_learn(shape: tuple[int, int, int], l2: float, weighted: bool) -> None:
    problem = problem_of(shape, weighted=weighted)
    weight, bias = RidgeFit(problem).solve(l2)
    model = reference(problem, l2, np.ones(problem.rows, dtype=bool))
    np.testing.assert_allclose(weight, model.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(bias, model.intercept_, rtol=1e-6)


def test_leave_one_out_of_duplicates_stays_exact() -> None:
    embeddings, labels = blobs(12, 30, 3)
    features = np.repeat(embeddings, 2, axis=0).astype(np.float64)
    targets = np.unique(np.repeat(labels, 2), return_inverse=True)[1]
    problem = Problem.of(features, targets, 3, seed=0)
    computed = RidgeFit(problem).leave_one_out(np.array([0.5]))[0]
    np.testing.assert_allclose(computed, brute_force(problem, 0.5, problem.groups), atol=1e-8)


def test_head_on_raw_embeddings_equals_the_standardised_fit() -> None:
    embeddings, labels = blobs(40, 15, 3)
    fitted = adapters.fit(embeddings, labels, HeadSpec("ridge", l2=2.0), fingerprint="f00d")
    raw = embeddings.astype(np.float64)
    variance = raw.var(axis=0)
    standard = (raw - raw.mean(axis=0)) / np.sqrt(variance + variance.mean() / 4)
    one_hot = np.eye(3)[fitted.head.class_indices(labels)]
    model = Reference(alpha=2.0, solver="svd").fit(standard, one_hot)
    np.testing.assert_allclose(fitted.head.logits(raw), model.predict(standard), atol=1e-5)
    assert fitted.report.l2 == 2.0
    assert fitted.report.estimate is not None
    assert fitted.report.estimate.method == "13-fold cross-validation"


def test_few_examples_of_many_noisy_features_do_not_look_good() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(100, 400))
    labels = ["heads", "tails"] * 50
    fitted = adapters.fit(embeddings, labels, HeadSpec("ridge"), fingerprint="f00d")
    assert adapters.evaluate(fitted.head, embeddings, labels).estimate.accuracy > 0.9
    assert fitted.report.estimate is not None
    assert fitted.report.estimate.accuracy < 0.65


@pytest.mark.parametrize("family", [RidgeFit, LdaFit])
def test_leave_one_out_of_some_is_that_of_all(family: type[RidgeFit | LdaFit]) -> None:
    problem = problem_of((50, 20, 3), weighted=True)
    some, strengths = np.array([3, 40, 7]), np.array([0.5, 7.0])
    fit = family(problem)
    expected = fit.leave_one_out(strengths)[:, some]
    np.testing.assert_allclose(fit.leave_one_out(strengths, some), expected, rtol=1e-9)


def test_strengths_are_compared_on_a_stratified_sample_of_very_many_examples() -> None:
    targets = np.arange(30_000) % 100
    problem = Problem.of(np.zeros((30_000, 1)), targets, 100, seed=0)
    sample = np.arange(30_000)[problem.validation_sample]
    assert 0.9 * MAX_VALIDATION_LOGITS <= 100 * len(sample) <= MAX_VALIDATION_LOGITS
    assert np.ptp(np.bincount(targets[sample])) <= 1
    few = Problem.of(np.zeros((300, 1)), targets[:300], 100, seed=0)
    assert len(np.arange(300)[few.validation_sample]) == 300


def test_held_out_errors_cannot_be_overwritten() -> None:
    problem = problem_of((20, 10, 2))
    squares = LeastSquares(problem, bias=True)
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            squares.errors(1.0, problem.folds)[0] = 0.0


def test_auto_leaves_out_what_costs_out_of_proportion() -> None:
    """Discriminants invert a matrix of classes x classes for each strength and fold."""
    lda = Lda()
    assert lda.cost(3000, 1280, 200) < MAX_AUTO_COST < lda.cost(6000, 1280, 2000)
    assert lda.cost(6000, 64, 2000) > 6 * lda.cost(3000, 64, 1000)
