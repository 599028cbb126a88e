"""The nearest class mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapters.families.base import Family, Start, Strength
from adapters.fronts import unit_rows
from adapters.problem import Problem

Array = NDArray[np.float64]

DEFAULT_TEMPERATURE = 0.1
"""Divides cosines where there are too few examples to fit a temperature."""


@dataclass(frozen=True)
class Prototype(Family):
    """Cosine similarity to the class mean: `weight_c = m_c / |m_c|`, no bias, nothing to choose.

    m_c is the weighted mean of a class's features, each of unit length (`Front.unit`). The nearest
    class mean (Mensink et al. 2013, https://doi.org/10.1109/TPAMI.2013.83), for few examples as in
    prototypical networks (Snell et al. 2017, https://arxiv.org/abs/1703.05175): the prototype has
    the highest mean cosine with its class. It works from one example of each class on; estimate
    and calibration are unavailable then, and `DEFAULT_TEMPERATURE` is used.

    Cost: 2 n width operations, and 2 n width classes to hold folds out; no decomposition.
    """

    name: str = "prototype"
    unit: bool = True
    has_l2: bool = False
    min_examples: int = 1
    max_examples: int | None = 30

    def cost(self, n: int, rank: int, classes: int) -> float:
        return 4.0 * n * rank * classes

    def begin(self, problem: Problem, start: Start | None = None) -> PrototypeFit:
        return PrototypeFit(problem)


class PrototypeFit:
    """Class means on one problem; see `adapters.families.base.Fit`."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._weighted = problem.one_hot * problem.weights[:, None]
        self._sums: Array = self._weighted.T @ problem.features

    def choose(self, report_share: Callable[[float], None], rival: float = math.inf) -> Strength:
        """Return none: there is nothing to choose."""
        report_share(1.0)
        return Strength(None)

    def held_out(self, l2: float | None, folds: NDArray[np.intp]) -> Array:
        """Return cosines of each example with class means without its fold; (n, classes)."""
        features = self._problem.features
        logits = np.full((self._problem.rows, self._problem.classes), np.nan)
        for fold in range(int(folds.max()) + 1):
            rows = np.flatnonzero(folds == fold)
            kept = self._sums - self._weighted[rows].T @ features[rows]
            logits[rows] = features[rows] @ unit_rows(kept).T
        return logits[self._problem.originals]

    def solve(self, l2: float | None) -> tuple[Array, Array]:
        """Return weight and bias."""
        return unit_rows(self._sums), np.zeros(self._problem.classes)
