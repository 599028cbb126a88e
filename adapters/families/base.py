"""What a family of heads has to be able to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adapters.problem import Problem

Progress = Callable[[float], None]
"""Takes the share of the work that is done, from 0 to 1."""

MIN_GAIN = 0.02
"""Share of the log-loss a weaker penalty has to save to be preferred.

Less than that is mostly luck, and choosing the luckiest strength makes its estimate too high.
"""


@dataclass(frozen=True, eq=False)
class Solution:
    """A solved problem, and what it says about examples it had not seen.

    Attributes:
        weight: float64 of shape (classes, dim), for standardised embeddings.
        bias: float64 of shape (classes,), likewise.
        l2: strength of the penalty.
        held_out: logits of shape (n, classes); row i comes from a model that was fitted without
            example i at the same strength.
        method: how `held_out` was made: "leave-one-out", "20-fold cross-validation" and the like.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    l2: float
    held_out: NDArray[np.float64]
    method: str


class Family(Protocol):
    """A way to learn a linear head from standardised embeddings.

    Every family adds the penalty `l2 / 2 * sum(weight ** 2)` to the sum of its loss over the
    examples, and leaves the bias free.
    """

    @property
    def name(self) -> str:
        """Name in specs and reports."""
        ...

    def cost(self, n: int, rank: int, classes: int) -> float:
        """Return the floating point operations `solve` needs, to the order of magnitude."""
        ...

    def solve(self, problem: Problem, l2: float | None, progress: Progress) -> Solution:
        """Fit with the given strength, or with one chosen on held-out examples if it is None."""
        ...


def cross_validation(count: int, n: int) -> str:
    """Name an estimate by its number of folds."""
    return "leave-one-out" if count == n else f"{count}-fold cross-validation"
