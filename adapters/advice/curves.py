"""What more labels would bring: a power law through a learning curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from adapters.advice.report import LabelsNeeded
from adapters.report import LearningPoint

LEAST_POINTS = 3
REACH = 10.0
"""How many times the examples there are a curve is believed to hold for."""

SLOWEST, FASTEST = 0.05, 2.0
USUAL, SPREAD = 0.3, math.log(2)
"""Exponents are around 0.3, give or take a factor of two (Hestness et al. 2017,
https://arxiv.org/abs/1712.00409, find 0.07 to 0.35 for networks that learn everything). Where few
and noisy points leave it open, that decides."""

_GRID = 400
_STEPS = (0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
_AHEAD = (0, 1, 3)


@dataclass(frozen=True)
class PowerLaw:
    """Accuracy with n examples is `ceiling - factor * n ** -exponent`.

    The inverse power law of learning curves (Cortes et al. 1993, NIPS 6:327; Figueroa et al. 2012,
    BMC Med. Inform. Decis. Mak. 12:8).
    """

    ceiling: float
    factor: float
    exponent: float

    @classmethod
    def of(cls, points: Sequence[LearningPoint], examples: int) -> Self | None:
        """Fit one; None for fewer than `LEAST_POINTS` points.

        Least squares with `ceiling <= 1` and `factor >= 0`, which for a given exponent is linear;
        the exponent is searched. It is penalised for being unusual, in units of the variance of an
        accuracy that is measured on so many examples.

        Args:
            points: accuracies at different numbers of examples.
            examples: on which each of them was measured.
        """
        if len(points) < LEAST_POINTS:
            return None
        sizes = np.array([point.examples for point in points], dtype=np.float64)
        errors = np.array([1 - point.accuracy for point in points])
        variance = max(float(np.mean(errors * (1 - errors))), 1 / examples) / examples

        def cost(log_exponent: float) -> float:
            residual = _solve(sizes, errors, math.exp(log_exponent))[2]
            strange = (log_exponent - math.log(USUAL)) / SPREAD
            return residual / variance + strange**2

        grid = np.linspace(math.log(SLOWEST), math.log(FASTEST), _GRID)
        best = int(np.argmin([cost(at) for at in grid]))
        ends = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
        found = scipy.optimize.minimize_scalar(cost, bounds=ends, method="bounded")
        exponent = math.exp(float(found.x))
        floor, factor, _ = _solve(sizes, errors, exponent)
        return cls(1 - floor, factor, exponent)

    def accuracy(self, examples: float) -> float:
        """Return the accuracy with so many examples."""
        return self.ceiling - self.factor * float(examples**-self.exponent)

    def examples(self, accuracy: float) -> float:
        """Return how many examples an accuracy takes; infinity where it is never reached."""
        room = self.ceiling - accuracy
        if room <= 0:
            return math.inf
        return float((self.factor / room) ** (1 / self.exponent))


def labels_needed(law: PowerLaw | None, accuracy: float, examples: int) -> tuple[LabelsNeeded, ...]:
    """Return what the next round accuracies take; None beyond `REACH` times the examples.

    Args:
        law: the law of an option; None if it is not known.
        accuracy: its estimate.
        examples: how many there are.
    """
    if law is None:
        return ()
    now = max(accuracy, law.accuracy(examples))
    step = next((step for step in _STEPS if step <= (1 - now) / 7), _STEPS[-1])
    first = math.floor(now / step + 1.5)
    needed = []
    for target in (round(step * (first + number), 3) for number in _AHEAD):
        count = law.examples(target)
        if target < 1:
            within = count <= REACH * examples
            needed.append(LabelsNeeded(target, math.ceil(count) if within else None))
    return tuple(needed)


def _solve(
    sizes: NDArray[np.float64], errors: NDArray[np.float64], exponent: float
) -> tuple[float, float, float]:
    """Return floor and factor, neither negative, and the sum of squared residuals."""
    powers = (sizes / sizes[-1]) ** -exponent
    (floor, factor), residual = scipy.optimize.nnls(
        np.column_stack([np.ones_like(sizes), powers]), errors
    )
    return float(floor), float(factor) * float(sizes[-1]) ** exponent, float(residual) ** 2
