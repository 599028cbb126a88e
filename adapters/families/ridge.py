"""Ridge regression onto one-hot targets, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapters.calibration import fit_temperature, log_loss
from adapters.families.base import Progress, Solution
from adapters.problem import Problem

STRENGTHS = np.logspace(1.5, -4, 12)
"""Strengths that are tried, in units of the problem's mean spectrum."""


@dataclass(frozen=True)
class Ridge:
    """Half the squared distance to one-hot targets plus the penalty; bias left free.

    The decomposition in `Problem` gives the solution of every strength, and with it the exact
    leave-one-out prediction: the residual of an example is divided by one minus its leverage, the
    intercept's share 1/n included (PRESS; Allen 1974, Technometrics 16:125). The strength with the
    lowest leave-one-out log-loss after calibration is taken. Exact means with the standardisation
    and the strength held fixed.

    Cost: 2 n rank classes operations a strength, besides the decomposition.
    """

    name: str = "ridge"

    def cost(self, n: int, rank: int, classes: int) -> float:
        """Return the floating point operations `solve` needs, to the order of magnitude."""
        return len(STRENGTHS) * n * classes * (2.0 * rank + 60)

    def solve(self, problem: Problem, l2: float | None, progress: Progress) -> Solution:
        """Fit in closed form; see `Family.solve`."""
        path = STRENGTHS * problem.scale if l2 is None else [l2]
        left_out = LeaveOneOut(problem)
        best: tuple[float, float, NDArray[np.float64]] | None = None
        temperature = None
        for step, strength in enumerate(path):
            logits = left_out.logits(float(strength))
            temperature = fit_temperature(logits, problem.targets, start=temperature)
            loss = log_loss(logits, problem.targets, temperature)
            if best is None or loss < best[0]:
                best = loss, float(strength), logits
            progress((step + 1) / len(path))
        assert best is not None
        _, strength, held_out = best
        roots = np.sqrt(problem.spectrum)[:, None]
        rotated = left_out.projected * roots / (problem.spectrum[:, None] + strength)
        bias = left_out.mean
        return Solution(problem.weight(rotated), bias, strength, held_out, "leave-one-out")


class LeaveOneOut:
    """Exact leave-one-out predictions of ridge regression at any strength."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
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
        shrunk = l2 / (self._problem.spectrum + l2)
        residual = self._outside + self._problem.axes @ (shrunk[:, None] * self.projected)
        slack = self._slack + self._squares @ shrunk
        predicted: NDArray[np.float64] = (
            self._one_hot - residual / np.maximum(slack, np.finfo(float).tiny)[:, None]
        )
        return predicted
