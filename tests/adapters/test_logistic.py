"""Logistic regression finds the optimum that scikit-learn finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

import adapters
from adapters import HeadSpec
from adapters.examples import Examples
from adapters.families.logistic import Logistic, Solver
from adapters.folds import fold_count, stratified_folds
from adapters.problem import Problem, Standardisation
from tests.adapters.data import blobs

shapes = pytest.mark.parametrize("shape", [(30, 80, 3), (120, 20, 4), (40, 15, 2)], ids=str)
strengths = pytest.mark.parametrize("l2", [0.05, 1.0, 50.0])


def problem_of(shape: tuple[int, int, int]) -> Problem:
    examples = Examples.of(*blobs(*shape))
    return Problem.of(examples, Standardisation.of(examples.embeddings), seed=0)


def reference(l2: float) -> LogisticRegression:
    return LogisticRegression(C=1 / l2, solver="lbfgs", tol=1e-10, max_iter=20_000)


@shapes
@strengths
def test_probabilities_equal_scikit_learn_at_the_same_strength(
    shape: tuple[int, int, int], l2: float
) -> None:
    problem = problem_of(shape)
    solution = Logistic().solve(problem, l2, lambda done: None)
    model = reference(l2).fit(problem.standard, problem.targets)
    if problem.classes == 2:  # scikit-learn penalises the difference of the two rows alone
        model = reference(l2 / 2).fit(problem.standard, problem.targets)
    logits = problem.standard @ solution.weight.T + solution.bias
    probabilities = softmax(logits, axis=1)
    expected = model.predict_proba(problem.standard)
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)


@shapes
def test_folds_solved_together_equal_folds_solved_alone(shape: tuple[int, int, int]) -> None:
    problem = problem_of(shape)
    folds = stratified_folds(problem.targets, 5, seed=0)
    training = folds != np.arange(5)[:, None]
    solver = Solver(problem, np.float64)
    together = solver.logits(solver.solve(training, 1.0, 1e-12))
    for fold in range(5):
        alone = solver.logits(solver.solve(training[fold : fold + 1], 1.0, 1e-12))
        np.testing.assert_allclose(together[:, fold], alone[:, 0], atol=2e-3)


@shapes
def test_held_out_logits_come_from_models_without_the_example(
    shape: tuple[int, int, int],
) -> None:
    problem = problem_of(shape)
    solution = Logistic().solve(problem, 4.0, lambda done: None)
    count = int(solution.method.removesuffix("-fold cross-validation"))
    folds = stratified_folds(problem.targets, count, problem.seed)
    strength = 4.0 if problem.classes > 2 else 2.0
    for fold in range(3):
        out = folds == fold
        model = reference(strength).fit(problem.standard[~out], problem.targets[~out])
        expected = model.predict_proba(problem.standard[out])
        np.testing.assert_allclose(softmax(solution.held_out[out], axis=1), expected, atol=0.01)


@pytest.mark.parametrize(
    ("n", "rank", "classes", "count"),
    [
        (6, 5, 3, 6),  # so few are left out one by one
        (60, 59, 10, 10),
        (200, 199, 10, 20),  # one of every class in each fold
        (200, 199, 2, 50),
        (100_000, 1280, 3, 10),  # no more than can be afforded
    ],
)
def test_number_of_folds_follows_examples_classes_and_cost(
    n: int, rank: int, classes: int, count: int
) -> None:
    assert fold_count(n, rank, classes) == count


def test_strength_adapts_to_the_signal() -> None:
    clear = adapters.fit(*blobs(60, 40, 3, distance=6.0), HeadSpec("logistic"), fingerprint="f")
    faint = adapters.fit(*blobs(60, 40, 3, distance=0.5), HeadSpec("logistic"), fingerprint="f")
    assert clear.report.l2 is not None
    assert faint.report.l2 is not None
    assert faint.report.l2 >= clear.report.l2
