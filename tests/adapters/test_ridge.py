"""Ridge is the closed form it claims to be, and its leave-one-out is exact."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge as Reference

import adapters
from adapters import HeadSpec
from adapters.examples import Examples
from adapters.families.ridge import LeaveOneOut, Ridge
from adapters.folds import stratified_folds
from adapters.problem import Problem, Standardisation
from tests.adapters.data import blobs

Array = NDArray[np.float64]

shapes = pytest.mark.parametrize(
    "shape", [(20, 50, 3), (50, 20, 3), (21, 20, 2), (20, 20, 4)], ids=str
)
strengths = pytest.mark.parametrize("l2", [1e-3, 1.0, 300.0])


def problem_of(shape: tuple[int, int, int]) -> Problem:
    examples = Examples.of(*blobs(*shape))
    return Problem.of(examples, Standardisation.of(examples.embeddings), seed=0)


@shapes
@strengths
def test_leave_one_out_equals_brute_force(shape: tuple[int, int, int], l2: float) -> None:
    problem = problem_of(shape)
    expected = np.empty_like(problem.one_hot)
    for left_out in range(problem.n):
        kept = np.arange(problem.n) != left_out
        model = Reference(alpha=l2, solver="svd")
        model.fit(problem.standard[kept], problem.one_hot[kept])
        expected[left_out] = model.predict(problem.standard[left_out : left_out + 1])[0]
    np.testing.assert_allclose(LeaveOneOut(problem).logits(l2), expected, rtol=1e-6, atol=1e-7)


@shapes
@strengths
def test_leaving_folds_out_equals_brute_force(shape: tuple[int, int, int], l2: float) -> None:
    problem = problem_of(shape)
    folds = stratified_folds(problem.targets, 6, seed=0)
    expected = np.empty_like(problem.one_hot)
    for fold in range(6):
        out = folds == fold
        model = Reference(alpha=l2, solver="svd")
        model.fit(problem.standard[~out], problem.one_hot[~out])
        expected[out] = model.predict(problem.standard[out])
    computed = LeaveOneOut(problem).fold_logits(l2, folds)
    np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=1e-6)


@shapes
@strengths
def test_fit_equals_scikit_learn(shape: tuple[int, int, int], l2: float) -> None:
    problem = problem_of(shape)
    solution = Ridge().solve(problem, l2, lambda done: None)
    model = Reference(alpha=l2, solver="svd").fit(problem.standard, problem.one_hot)
    np.testing.assert_allclose(solution.weight, model.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(solution.bias, model.intercept_, rtol=1e-6)


def test_leave_one_out_of_duplicates_stays_exact() -> None:
    embeddings, labels = blobs(12, 30, 3)
    examples = Examples.of(np.repeat(embeddings, 2, axis=0), np.repeat(labels, 2).tolist())
    problem = Problem.of(examples, Standardisation.of(examples.embeddings), seed=0)
    kept = np.arange(problem.n) != 5
    model = Reference(alpha=0.5, solver="svd").fit(problem.standard[kept], problem.one_hot[kept])
    expected = model.predict(problem.standard[5:6])[0]
    np.testing.assert_allclose(LeaveOneOut(problem).logits(0.5)[5], expected, atol=1e-8)


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
    assert adapters.evaluate(fitted.head, embeddings, labels).accuracy > 0.9
    assert fitted.report.estimate is not None
    assert fitted.report.estimate.accuracy < 0.65
