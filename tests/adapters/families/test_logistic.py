"""Logistic regression finds the optimum that scikit-learn finds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

import adapters
from adapters import HeadSpec
from adapters.families.base import Start
from adapters.families.logistic import LogisticFit, Solver
from adapters.folds import comparison_count, fold_count
from adapters.problem import Problem
from tests.adapters.data import blobs, noisy, problem_of

Array = NDArray[np.float64]

shapes = pytest.mark.parametrize("shape", [(30, 80, 3), (120, 20, 4), (40, 15, 2)], ids=str)
strengths = pytest.mark.parametrize("l2", [0.05, 1.0, 50.0])
weightings = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])


def reference(problem: Problem, l2: float, kept: NDArray[np.bool_]) -> Array:
    """Probabilities of all rows by scikit-learn's model of some."""
    if problem.classes == 2:  # scikit-learn penalises the difference of the two rows alone
        l2 /= 2
    model = LogisticRegression(C=1 / l2, solver="lbfgs", tol=1e-10, max_iter=20_000)
    model.fit(problem.features[kept], problem.targets[kept], problem.weights[kept])
    expected: Array = model.predict_proba(problem.features)
    return expected


@shapes
@strengths
@weightings
def test_probabilities_equal_scikit_learn_at_the_same_strength(
    shape: tuple[int, int, int], l2: float, weighted: bool
) -> None:
    problem = problem_of(shape, weighted=weighted)
    weight, bias = LogisticFit(problem, None).solve(l2)
    probabilities = softmax(problem.features @ weight.T + bias, axis=1)
    expected = reference(problem, l2, np.ones(problem.rows, dtype=bool))
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)


@shapes
def test_folds_solved_together_equal_folds_solved_alone(shape: tuple[int, int, int]) -> None:
    problem = problem_of(shape)
    training = problem.deal(5) != np.arange(5)[:, None]
    solver = Solver(problem, np.float64)
    together = solver.logits(solver.solve(training, 1.0, 1e-12))
    for fold in range(5):
        alone = solver.logits(solver.solve(training[fold : fold + 1], 1.0, 1e-12))
        np.testing.assert_allclose(together[:, fold], alone[:, 0], atol=2e-3)


@shapes
@pytest.mark.parametrize("views", [0, 2])
def test_held_out_logits_come_from_models_without_the_example(
    shape: tuple[int, int, int], views: int
) -> None:
    problem = problem_of(shape, views=views)
    folds = problem.deal(6)
    held_out = softmax(LogisticFit(problem, None).held_out(4.0, folds), axis=1)
    for fold in range(3):
        expected = reference(problem, 4.0, folds != fold)[problem.originals]
        out = folds[problem.originals] == fold
        np.testing.assert_allclose(held_out[out], expected[out], atol=0.01)


@shapes
def test_where_it_starts_does_not_change_where_it_ends(shape: tuple[int, int, int]) -> None:
    problem = problem_of(shape)
    rng = np.random.default_rng(0)
    width = problem.features.shape[1]
    far = Start(rng.normal(size=(problem.classes, width)), rng.normal(size=problem.classes))
    (weight, bias), (other, other_bias) = (
        LogisticFit(problem, start).solve(2.0) for start in (None, far)
    )
    np.testing.assert_allclose(
        softmax(problem.features @ other.T + other_bias, axis=1),
        softmax(problem.features @ weight.T + bias, axis=1),
        atol=1e-3,
    )


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


@pytest.mark.parametrize(("n", "count"), [(4, 4), (50, 10), (5000, 5)])
def test_few_examples_are_compared_on_more_folds(n: int, count: int) -> None:
    assert comparison_count(n) == count


def test_strength_adapts_to_the_signal() -> None:
    clear = adapters.fit(*blobs(60, 40, 3, distance=6.0), HeadSpec("logistic"), fingerprint="f")
    faint = adapters.fit(*blobs(60, 40, 3, distance=0.5), HeadSpec("logistic"), fingerprint="f")
    assert clear.report.l2 is not None
    assert faint.report.l2 is not None
    assert faint.report.l2 >= clear.report.l2


def test_a_path_far_behind_its_rivals_is_not_followed() -> None:
    problem = problem_of((60, 40, 3), distance=0.5)
    followed: list[float] = []
    cut: list[float] = []
    LogisticFit(problem, None).choose(followed.append)
    LogisticFit(problem, None).choose(cut.append, rival=1e-3)
    assert len(cut) == 0 < len(followed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", ["logistic", "auto"])
def test_no_start_decides_the_strength(family: str, seed: int) -> None:
    embeddings, labels = noisy(90, 30, 3, distance=1.0, seed=seed)
    spec = HeadSpec(family, seed=seed)
    cold = adapters.fit(embeddings, labels, spec, fingerprint="f")
    for l2 in (1e-3, 1e3):
        earlier = HeadSpec("logistic", l2=l2)
        start = adapters.fit(embeddings[:40], labels[:40], earlier, fingerprint="f").head
        warm = adapters.fit(embeddings, labels, spec, fingerprint="f", start=start)
        assert (warm.head.family, warm.report.l2) == (cold.head.family, cold.report.l2)
        assert warm.report.estimate is not None
        assert cold.report.estimate is not None
        assert warm.report.estimate.log_loss == pytest.approx(cold.report.estimate.log_loss, 1e-6)


def test_a_given_strength_ends_at_one_minimum_from_any_start() -> None:
    embeddings, labels = noisy(90, 30, 3, distance=1.0)
    spec = HeadSpec("logistic", l2=5.0)
    start = adapters.fit(embeddings[:40], labels[:40], spec, fingerprint="f").head
    cold, warm = (
        adapters.fit(embeddings, labels, spec, fingerprint="f", start=s) for s in (None, start)
    )
    assert warm.report.estimate is not None
    assert cold.report.estimate is not None
    assert warm.report.estimate.log_loss == pytest.approx(cold.report.estimate.log_loss, rel=1e-3)
