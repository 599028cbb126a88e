"""Closed forms leave whole groups out as fits without them would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.families.lda import LdaFit
from adapters.families.ridge import RidgeFit
from adapters.problem import Problem


def grouped_problem(seed: int, n: int, classes: int, most: int) -> Problem:
    """Examples in groups of very different sizes, one of them with a class of its own."""
    rng = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(2 * classes) % classes, rng.integers(0, classes, n)])
    names = np.concatenate([np.arange(2 * classes), 2 * classes + rng.integers(0, most, n)])
    names[-n // 3 :] = 2 * classes  # one large group
    targets = np.append(targets, classes)  # a class in one group alone
    names = np.append(names, names.max() + 1)
    groups = np.unique(names, return_inverse=True)[1]
    features = rng.normal(size=(len(targets), 7)) + targets[:, None]
    weights = rng.uniform(0.5, 2, len(targets))
    return Problem.of(features, targets, classes + 1, 0, weights, groups)


def refitted(problem: Problem, l2: float, kind: type[RidgeFit] | type[LdaFit]) -> np.ndarray:
    """Logits by fits to all but the group of each example, behind the same centre and axes."""
    logits = np.full((problem.n, problem.classes), np.nan)
    for group in np.unique(problem.groups[problem.held]):
        out = problem.groups == group
        rest = Problem.of(
            problem.features[~out],
            problem.targets[~out],
            problem.classes,
            0,
            problem.weights[~out],
        )
        weight, bias = kind(rest).solve(l2)
        logits[out] = problem.features[out] @ weight.T + bias
    return scaled(logits, kind)


def scaled(logits: np.ndarray, kind: type[RidgeFit] | type[LdaFit]) -> np.ndarray:
    """Discriminants are up to what all classes of a row have in common."""
    return logits - logits.mean(axis=1, keepdims=True) if kind is LdaFit else logits


@pytest.mark.parametrize("kind", [RidgeFit, LdaFit])
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(9, 40),
    classes=st.integers(2, 4),
    most=st.integers(3, 30),
)
@settings(max_examples=25, deadline=None)
def test_leaving_a_group_out_equals_refitting_without_it(
    kind: type[RidgeFit] | type[LdaFit], seed: int, n: int, classes: int, most: int
) -> None:
    problem = grouped_problem(seed, n, classes, most)
    some = np.flatnonzero(problem.held)
    assert problem.joint_blocks is not None
    found = kind(problem).leave_one_out(np.array([0.7, 5.0]), some)
    for l2, logits in zip((0.7, 5.0), found, strict=True):
        expected = refitted(problem, l2, kind)[some]
        np.testing.assert_allclose(scaled(logits, kind), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [RidgeFit, LdaFit])
def test_folds_of_groups_equal_refitting_without_them(
    kind: type[RidgeFit] | type[LdaFit],
) -> None:
    problem = grouped_problem(3, 30, 3, 12)
    some = problem.held
    found = kind(problem).held_out(2.0, problem.blocks)
    expected = refitted(problem, 2.0, kind)[some]
    np.testing.assert_allclose(scaled(found, kind)[some], expected, rtol=1e-6, atol=1e-8)
