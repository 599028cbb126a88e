"""The interface of families of heads, and how they choose strengths."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adapters.calibration import calibrated_losses
from adapters.optimism import MOST_GROUPS, optimism
from adapters.problem import Problem

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Start:
    """A similar solution for iterations to start from.

    Attributes:
        weight: of shape (classes, width), for features.
        bias: of shape (classes,).
    """

    weight: Array
    bias: Array


MIN_GAIN = 0.02
"""Share of the log-loss a weaker penalty has to save to be preferred.

Less than that is mostly luck, and choosing the luckiest strength makes its estimate too high.
"""


@dataclass(frozen=True)
class Strength:
    """A strength that was chosen; `l2` is None where there is none to choose.

    `optimism` is by how much the choice makes the accuracy on the examples it was made on too high,
    as a share of them (`adapters.optimism`).
    """

    l2: float | None
    optimism: float = 0.0


class Fit(Protocol):
    """One family fitted to one problem; what its steps have in common is computed once."""

    def choose(self, report_share: Callable[[float], None], rival: float = math.inf) -> Strength:
        """Return a strength chosen on held-out examples.

        Args:
            report_share: called with the share that is done, from 0 to 1.
            rival: the lowest log-loss of others on the comparison's folds; a family that is far
                behind may stop searching.
        """
        ...

    def held_out(self, l2: float | None, folds: NDArray[np.intp]) -> Array:
        """Return logits of shape (n, classes), each by a model that did not see the fold.

        Args:
            l2: the strength of all these models.
            folds: the fold of each row of the problem, as `Problem.deal` returns them. Logits of
                rows in none (-1), which are part of every fit, mean nothing.
        """
        ...

    def solve(self, l2: float | None) -> tuple[Array, Array]:
        """Return weight (classes, width) and bias (classes,) for features, fitted to all rows."""
        ...


@dataclass(frozen=True)
class Family(ABC):
    """A way to learn a linear head from features.

    Attributes:
        name: in specs and reports.
        unit: whether it wants features of unit length.
        has_l2: whether there is a strength to choose.
        min_examples: of each class that it needs.
        max_examples: per class, on average, beyond which "auto" leaves it out; None for no limit.
    """

    name: str
    unit: bool = False
    has_l2: bool = True
    min_examples: int = 2
    max_examples: int | None = None

    def suits(self, n: int, classes: int) -> bool:
        """Return whether "auto" looks at it for so many examples."""
        return self.max_examples is None or n <= self.max_examples * classes

    @abstractmethod
    def cost(self, n: int, rank: int, classes: int) -> float:
        """Return the floating point operations of a fit, to the order of magnitude."""

    @abstractmethod
    def begin(self, problem: Problem, start: Start | None = None) -> Fit:
        """Return a fit to a problem, from a similar solution if the family can use one.

        A closed form needs none. Neither the strength that is chosen nor what is held out at it
        depends on the start.
        """


def choose_strength(
    strengths: NDArray[np.float64],
    logits: Callable[[NDArray[np.float64]], Array],
    problem: Problem,
    report_share: Callable[[float], None],
) -> Strength:
    """Return the strongest penalty whose log-loss after calibration is hardly above the lowest.

    Every second strength is tried first, then the neighbours of the best. They are compared on
    the problem's validation sample.

    Args:
        strengths: to choose from, from strong to weak; shape (k,).
        logits: returns held-out logits (m, examples of the sample, classes) of m of them.
        problem: the problem they are for.
        report_share: called with the share that is done, from 0 to 1.
    """
    targets = problem.example_targets[problem.validation_sample]
    at_once = max(1, int(CHUNK / (len(targets) * problem.classes)))
    losses: dict[int, float] = {}
    found: dict[int, Array] = {}

    def evaluate(steps: Sequence[int]) -> None:
        for first in range(0, len(steps), at_once):
            some = steps[first : first + at_once]
            tried = logits(strengths[some])
            losses.update(zip(some, calibrated_losses(tried, targets)[1].tolist(), strict=True))
            if problem.group_count <= MOST_GROUPS:
                found.update(zip(some, tried, strict=True))
            report_share(min(1.0, 1.5 * len(losses) / len(strengths)))

    evaluate(range(0, len(strengths), 2))
    best = min(losses, key=lambda step: losses[step])
    evaluate([step for step in (best - 1, best + 1) if 0 <= step < len(strengths)])
    good = (1 + MIN_GAIN) * min(losses.values())
    l2 = float(strengths[min(step for step, loss in losses.items() if loss <= good)])
    if not found:
        return Strength(l2)
    candidates = np.stack([found[step] for step in sorted(found)])
    groups = problem.example_groups[problem.validation_sample]
    return Strength(l2, optimism(candidates, targets, groups, problem.seed, MIN_GAIN))


CHUNK = 2e6
"""Logits that are held in memory at once."""
