"""Linear discriminant analysis with one covariance for all classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapters.families.base import Family, Start, Strength, choose_strength
from adapters.families.least_squares import LeastSquares
from adapters.folds import comparison_count, fold_count
from adapters.problem import ALL, MAX_VALIDATION_LOGITS, Problem, Some

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

STRENGTHS = np.logspace(1.5, -3.5, 11)
"""Strengths to choose from, from strong to weak, in units of the problem's mean spectrum."""

TRIED = 8
"""Strengths that are tried."""


@dataclass(frozen=True)
class Lda(Family):
    """Gaussian classes that share their covariance: the likelihood of features and labels.

    With weights w, n_c = sum of w over class c, n = sum of all, class means mu_c, mean m of all and
    the shrunk scatter within classes

        S = sum_i w_i (x_i - mu_c(i)) (x_i - mu_c(i))' + l2 I,

    the head is `weight_c = n S^-1 (mu_c - m)` and
    `bias_c = -(mu_c + m)' weight_c / 2 + log(n_c / n)` (Hastie, Tibshirani and Friedman 2009,
    section 4.3, whose origin is moved to m: no probability depends on it). The penalty is added to
    the scatter, not to the covariance, so that adding or removing an example changes S by exactly
    one rank (Deep SLDA, Hayes and Kanan 2020, https://arxiv.org/abs/1909.01520).

    S is the scatter of `LeastSquares` less one rank per class. With its solution Q and
    F = diag(n_c) - Y' W Z Q, Woodbury's identity gives S^-1 (mu_1 .. mu_C) = Q F^-1, and
    mu_c' S^-1 mu_c = (F^-1)_cc - 1 / n_c, means measured from m. Without some rows, Z Q is Y less
    their `errors` E, and F is less by R' W E, R their residuals. So solutions and held-out
    predictions of every strength are exact, front and strength held fixed. The strength is chosen
    by the log-loss of leave-one-out predictions after calibration.

    Cost: 2 n rank classes + 4 n classes**2 + 4 classes**3 operations a strength, besides the
    decomposition; for more than a million logits a sample of them is scored. Every fold costs
    2 classes**3.
    """

    name: str = "lda"

    def cost(self, n: int, rank: int, classes: int) -> float:
        scored = min(n * classes, MAX_VALIDATION_LOGITS)
        trials = TRIED * scored * (2.0 * rank + 4.0 * classes + 200)
        estimates = 2 * n * classes * (4.0 * rank + 4.0 * classes + 200)
        inverses = 4.0 * TRIED + 2.0 * (fold_count(n, rank, classes) + comparison_count(n))
        return trials + estimates + inverses * classes**3

    def begin(self, problem: Problem, start: Start | None = None) -> LdaFit:
        return LdaFit(problem)


class LdaFit:
    """Discriminant analysis on one problem; see `adapters.families.base.Fit`."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._squares = LeastSquares(problem, bias=False)

    def choose(self, report_share: Callable[[float], None], rival: float = math.inf) -> Strength:
        """Return a strength, by leave-one-out if every row is an example of its own."""
        problem = self._problem
        return choose_strength(STRENGTHS * problem.scale, self._trials, problem, report_share)

    def leave_one_out(self, strengths: Array, some: Some = ALL) -> Array:
        """Return logits of m of the rows by models without the group of each; (k, m, classes).

        F loses one rank, so its inverse changes by one (Sherman and Morrison 1950). A group of
        several goes at once, as a fold does in `held_out`.
        """
        problem = self._problem
        weights, one_hot = problem.weights[some], problem.one_hot[some]
        residuals = self._squares.residuals(strengths, some)
        share = weights / self._squares.slack(strengths, some)  # W E = share * R
        inverse = np.stack([self._inverse(float(l2)) for l2 in strengths])
        solved = residuals @ inverse
        growth = share / (1 - share * np.einsum("krc,krc->kr", residuals, solved))
        fitted = one_hot - residuals * (share / weights)[:, :, None]
        along = growth * np.einsum("krc,krc->kr", fitted, solved)
        scores = fitted @ inverse + along[:, :, None] * solved
        diagonal = np.diagonal(inverse, axis1=1, axis2=2)[:, None, :]
        diagonal = diagonal + growth[:, :, None] * solved**2
        left = problem.class_totals - weights[:, None] * one_hot
        logits = _logits(scores, diagonal, left)
        if problem.joint_blocks is not None:
            joint = (problem.joint_blocks >= 0)[some]
            for scored, l2 in zip(logits, strengths, strict=True):
                scored[joint] = self.held_out(float(l2), problem.joint_blocks)[some][joint]
        return logits

    def held_out(self, l2: float | None, folds: Indices) -> Array:
        """Return logits of each example by the model without its fold; (n, classes)."""
        assert l2 is not None
        problem = self._problem
        errors = self._squares.errors(l2, folds)
        residuals = self._squares.residuals(np.array([l2]))[0]
        whole = self._overlap(l2)
        logits = np.full_like(errors, np.nan)
        for fold in range(int(folds.max()) + 1):
            rows = np.flatnonzero(folds == fold)
            weighted = errors[rows] * problem.weights[rows, None]
            inverse: Array = _inverted(whole - residuals[rows].T @ weighted)
            left = problem.class_totals - problem.weights[rows] @ problem.one_hot[rows]
            fitted = problem.one_hot[rows] - errors[rows]
            logits[rows] = _logits(fitted @ inverse, np.diagonal(inverse), left)
        return logits[problem.originals]

    def solve(self, l2: float | None) -> tuple[Array, Array]:
        """Return weight and bias."""
        assert l2 is not None
        problem = self._problem
        inverse, solution = self._inverse(l2), self._squares.solution(l2)
        weight = problem.total * problem.lift(solution @ inverse)
        squares = problem.total * (np.diagonal(inverse) - 1 / problem.class_totals)
        bias = np.log(problem.class_totals / problem.total) - squares / 2
        return weight, bias - weight @ problem.mean

    def _trials(self, strengths: Array) -> Array:
        problem = self._problem
        if problem.rows == problem.n:
            return self.leave_one_out(strengths, problem.validation_sample)
        held_out = [
            self.held_out(float(l2), problem.comparison)[problem.validation_sample]
            for l2 in strengths
        ]
        return np.stack(held_out)

    def _overlap(self, l2: float) -> Array:
        """Return F of shape (classes, classes), symmetric."""
        overlap = self._squares.projected.T @ self._squares.solution(l2)
        return np.diag(self._problem.class_totals) - (overlap + overlap.T) / 2

    def _inverse(self, l2: float) -> Array:
        return np.asarray(_inverted(self._overlap(l2)), dtype=np.float64)


def _logits(scores: Array, diagonal: Array, left: Array) -> Array:
    """Return logits from Z S^-1 mu, from the diagonal of F^-1 and the classes' weights n_c."""
    total = left.sum(axis=-1, keepdims=True)
    logits: Array = total * (scores - (diagonal - 1 / left) / 2) + np.log(left / total)
    return logits


def _inverted(matrices: Array) -> Array:
    """Return the inverse of each; the pseudo-inverse where one has none but for rounding."""
    try:
        return np.asarray(np.linalg.inv(matrices))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.pinv(matrices))
