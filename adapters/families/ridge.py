"""Ridge regression onto one-hot targets, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapters.calibration import fit_temperature, log_loss
from adapters.families.base import MIN_GAIN, Progress, Solution, cross_validation
from adapters.folds import fold_count, stratified_folds
from adapters.problem import Problem

STRENGTHS = np.logspace(1.5, -4, 12)
"""Strengths that are tried, in units of the problem's mean spectrum."""


@dataclass(frozen=True)
class Ridge:
    """Half the squared distance to one-hot targets plus the penalty; bias left free.

    The decomposition in `Problem` gives the solution of every strength, and with it the exact
    leave-one-out prediction: the residual of an example is divided by one minus its leverage, the
    intercept's share 1/n included (PRESS; Allen 1974, Technometrics 16:125). It chooses the
    strength by its log-loss after calibration. Held-out logits at that strength leave out whole
    folds (`fold_count`) by the same algebra. Exact means with the standardisation and the strength
    held fixed.

    Cost: 2 n rank classes operations a strength, besides the decomposition.
    """

    name: str = "ridge"

    def cost(self, n: int, rank: int, classes: int) -> float:
        """Return the floating point operations `solve` needs, to the order of magnitude."""
        return len(STRENGTHS) * n * classes * (2.0 * rank + 60)

    def solve(self, problem: Problem, l2: float | None, progress: Progress) -> Solution:
        """Fit in closed form; see `Family.solve`."""
        left_out = LeaveOneOut(problem)
        if l2 is None:
            l2 = choose_strength(left_out, progress)
        count = fold_count(problem.n, problem.rank, problem.classes)
        folds = stratified_folds(problem.targets, count, problem.seed)
        held_out = left_out.fold_logits(l2, folds)
        roots = np.sqrt(problem.spectrum)[:, None]
        rotated = left_out.projected * roots / (problem.spectrum[:, None] + l2)
        weight = problem.weight(rotated)
        progress(1.0)
        method = cross_validation(count, problem.n)
        return Solution(weight, left_out.mean, l2, held_out, method)


def choose_strength(left_out: LeaveOneOut, progress: Progress) -> float:
    """Return a strength by exact leave-one-out.

    Taken is the strongest penalty whose log-loss after calibration is hardly above the lowest.
    """
    path: list[float] = (STRENGTHS * left_out.problem.scale).tolist()
    targets = left_out.problem.targets
    losses: list[float] = []
    temperature = None
    for step, strength in enumerate(path):
        logits = left_out.logits(strength)
        temperature = fit_temperature(logits, targets, start=temperature)
        losses.append(log_loss(logits, targets, temperature))
        progress((step + 1) / (len(path) + 1))
    good = (1 + MIN_GAIN) * min(losses)
    return next(strength for strength, loss in zip(path, losses, strict=True) if loss <= good)


class LeaveOneOut:
    """Exact predictions by ridge regression at any strength for examples it is not fitted to."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        one_hot = problem.one_hot
        self.mean = one_hot.mean(axis=0)
        """Bias at every strength, as the standardised columns have mean zero; (classes,)."""
        self.projected = problem.axes.T @ one_hot
        """Targets along the axes; (rank, classes)."""
        self._one_hot = one_hot
        self._outside = one_hot - self.mean - problem.axes @ self.projected
        self._squares = problem.axes**2
        self._slack = np.maximum(1 - 1 / problem.n - self._squares.sum(axis=1), 0.0)

    def logits(self, l2: float) -> NDArray[np.float64]:
        """Return the prediction for each example by the model without it; (n, classes).

        Residual and one minus leverage are both summed over what the penalty leaves unexplained,
        which stays accurate where weak penalties let both tend to zero.
        """
        shrunk = l2 / (self.problem.spectrum + l2)
        residual = self._residual(shrunk)
        slack = self._slack + self._squares @ shrunk
        predicted: NDArray[np.float64] = (
            self._one_hot - residual / np.maximum(slack, np.finfo(float).tiny)[:, None]
        )
        return predicted

    def fold_logits(self, l2: float, folds: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the prediction for each example by the model without its fold; (n, classes).

        The residuals of a fold are multiplied by the inverse of its block of I - H, where H maps
        targets to predictions: leave-one-out for a group (Cook and Weisberg 1982).

        Args:
            l2: strength of the penalty.
            folds: the fold of each example, of shape (n,).
        """
        spectrum, axes = self.problem.spectrum, self.problem.axes
        residual = self._residual(l2 / (spectrum + l2))
        kept = spectrum / (spectrum + l2)
        for fold in np.unique(folds):
            members = np.flatnonzero(folds == fold)
            block = axes[members]
            slack = np.eye(len(members)) - 1 / self.problem.n - (block * kept) @ block.T
            residual[members] = np.linalg.solve(slack, residual[members])
        return self._one_hot - residual

    def _residual(self, shrunk: NDArray[np.float64]) -> NDArray[np.float64]:
        residual: NDArray[np.float64] = self._outside + self.problem.axes @ (
            shrunk[:, None] * self.projected
        )
        return residual
