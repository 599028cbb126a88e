"""Ridge regression onto one-hot targets, in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapters.families.base import Family, Start, Strength, choose_strength
from adapters.families.least_squares import LeastSquares
from adapters.problem import ALL, MAX_VALIDATION_LOGITS, Problem, Some

Array = NDArray[np.float64]

STRENGTHS = np.logspace(1.5, -4, 12)
"""Strengths to choose from, from strong to weak, in units of the problem's mean spectrum."""

TRIED = 8
"""Strengths that are tried."""


@dataclass(frozen=True)
class Ridge(Family):
    """Half the weighted squared distance to one-hot targets plus `l2 / 2 * sum(weight ** 2)`.

    The bias is free. One decomposition (`Problem`) gives the solution of every strength, and with
    it the exact prediction for examples left out (`LeastSquares`), the bias's share of the leverage
    included. Exact means with front and strength held fixed. The strength is chosen by the
    log-loss of leave-one-out predictions after calibration, all views of an example and all
    examples of a group out at once; the estimate comes from folds.

    Cost: 2 n rank classes operations a strength, besides the decomposition; for more than a million
    logits a sample of them is scored.
    """

    name: str = "ridge"

    def cost(self, n: int, rank: int, classes: int) -> float:
        scored = min(n * classes, MAX_VALIDATION_LOGITS)
        return (TRIED * scored + 6 * n * classes) * (2.0 * rank + 100)

    def begin(self, problem: Problem, start: Start | None = None) -> RidgeFit:
        return problem.shared(RidgeFit)


class RidgeFit:
    """Ridge regression on one problem; see `adapters.families.base.Fit`."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._squares = LeastSquares(problem, bias=True)
        self._chosen: Strength | None = None

    def choose(self, report_share: Callable[[float], None], rival: float = math.inf) -> Strength:
        """Return a strength by exact leave-one-out, whole groups at once."""
        if self._chosen is None:
            strengths = STRENGTHS * self._problem.scale
            self._chosen = choose_strength(strengths, self._trials, self._problem, report_share)
        return self._chosen

    def leave_one_out(self, strengths: Array, some: Some = ALL) -> Array:
        """Return predictions for m of the examples without the group of each; (k, m, classes)."""
        problem = self._problem
        if problem.rows > problem.n:
            return np.stack([self.held_out(float(l2), problem.blocks)[some] for l2 in strengths])
        slack = self._squares.slack(strengths, some)
        alone = problem.one_hot[some] - self._squares.residuals(strengths, some) / slack[:, :, None]
        if problem.joint_blocks is None:
            return alone
        joint = (problem.joint_blocks >= 0)[some]
        for predicted, l2 in zip(alone, strengths, strict=True):
            predicted[joint] = self.held_out(float(l2), problem.joint_blocks)[some][joint]
        return alone

    def _trials(self, strengths: Array) -> Array:
        return self.leave_one_out(strengths, self._problem.validation_sample)

    def held_out(self, l2: float | None, folds: NDArray[np.intp]) -> Array:
        """Return the prediction for each example by the model without its fold; (n, classes)."""
        assert l2 is not None
        predicted: Array = self._problem.one_hot - self._squares.errors(l2, folds)
        return predicted[self._problem.originals]

    def solve_folds(self, l2: float, folds: NDArray[np.intp]) -> Array:
        """Return weights along the axes and, last, biases of the models without each fold.

        Returns:
            An array of shape (classes, folds, rank + 1).
        """
        weights, biases = self._squares.solutions(l2, folds)
        return np.concatenate([weights, biases[:, None]], axis=1).transpose(2, 0, 1)

    def solve(self, l2: float | None) -> tuple[Array, Array]:
        """Return weight and bias."""
        assert l2 is not None
        problem = self._problem
        weight = problem.lift(self._squares.solution(l2))
        return weight, problem.class_totals / problem.total - weight @ problem.mean
