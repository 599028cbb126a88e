"""Options, evaluated on the same parts of the examples and compared example by example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from adapters.advice.options import Learner
from adapters.estimate import ValidationResult
from adapters.folds import grouped_folds
from adapters.groups import held_out
from adapters.report import Estimate, LearningPoint

Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

FOLDS = 10
"""On which options are evaluated, if there are enough groups."""

SHARES = (16, 8, 4, 2)
PER_CLASS = 2
"""Examples of a class that a point of a learning curve is worth drawing for, on average."""

REPEATED = 1000
"""Examples that are learned from at each point: small parts several times, large ones twice."""

CLEAR = 1.959963984540054
"""Of a standard normal, 5 % lie outside."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The folds and parts on which options are evaluated.

    Attributes:
        targets: class indices of shape (n,).
        groups: the same number for examples that are held out together, of shape (n,).
        folds: the fold of each example, of shape (n,); -1 for those of classes that lie in one
            group alone, which every option learns and none is measured on.
        parts: for each point of a learning curve, masks of shape (n,): what to learn from.
    """

    targets: Indices
    groups: Indices
    folds: Indices
    parts: tuple[tuple[Mask, ...], ...]

    @classmethod
    def of(cls, targets: Indices, groups: Indices, seed: int) -> Self:
        """Deal examples into folds and parts, each group of near-duplicates into one.

        Args:
            targets: class indices of shape (n,).
            groups: the group of each example, from 0 on, of shape (n,).
            seed: decides the deals.
        """
        n, classes = len(targets), int(targets.max()) + 1
        held = held_out(targets, groups, classes)
        different = len(np.unique(groups[held]))
        folds = grouped_folds(targets, groups, held, min(FOLDS, different), seed)
        parts = []
        for share in SHARES:
            if n >= share * PER_CLASS * classes and different >= share:
                dealt = grouped_folds(targets, groups, held, share, seed)
                repeats = min(share, max(2, REPEATED * share // n))
                parts.append(tuple((dealt == part) | ~held for part in range(repeats)))
        return cls(targets, groups, folds, tuple(parts))

    @property
    def scored(self) -> Mask:
        """Which examples options are measured on; shape (n,)."""
        scored: Mask = self.folds >= 0
        return scored

    @property
    def fold_count(self) -> int:
        """Number of folds."""
        return int(self.folds.max()) + 1


@dataclass(frozen=True, eq=False)
class OptionResult:
    """How good an option is.

    Attributes:
        name: of the option.
        right: whether each example that is measured was recognised by a model without its fold;
            shape (scored,).
        estimate: those summed up.
        curve: accuracies with less; the last point is the estimate.
    """

    name: str
    right: Mask
    estimate: Estimate
    curve: tuple[LearningPoint, ...]


def evaluate_option(name: str, learner: Learner, plan: Plan) -> OptionResult:
    """Evaluate a learner on all folds and parts of a plan."""
    targets, n = plan.targets, len(plan.targets)
    logits, scored = learner.held_out(plan.folds), plan.scored
    logits[~scored] = np.nan
    result = ValidationResult.of(
        logits, targets, plan.fold_count, plan.groups, optimism=learner.optimism
    )
    guess = result.estimate
    curve = [
        LearningPoint(
            examples=round(float(np.mean([part.sum() for part in parts]))),
            accuracy=float(
                np.mean([np.mean(learner.predict_others(part) == targets[~part]) for part in parts])
            ),
        )
        for parts in plan.parts
    ]
    learned = n - round(n / plan.fold_count)
    right = logits[scored].argmax(axis=1) == targets[scored]
    return OptionResult(name, right, guess, (*curve, LearningPoint(learned, guess.accuracy)))


@dataclass(frozen=True)
class Difference:
    """What one option is ahead of another on the same examples.

    Attributes:
        gain: difference of the accuracies; negative if it is behind.
        only_first: examples that it alone recognises.
        only_second: examples that the other alone recognises.
        z: the statistic of the test.
        margin: half of the 95 % interval of the gain, which holds 0 where the test is not clear.
    """

    gain: float
    only_first: int
    only_second: int
    z: float
    margin: float

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return max(-1.0, self.gain - self.margin)

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return min(1.0, self.gain + self.margin)

    @property
    def clear(self) -> bool:
        """Whether so large a difference is by chance in less than 5 % of cases."""
        return abs(self.z) > CLEAR


def compare(first: OptionResult, second: OptionResult, groups: Indices) -> Difference:
    """Compare two options with McNemar's test.

    `z = (|b - c| - 1) / sqrt(b + c)` for b and c examples that one of them alone recognises
    (McNemar 1947, Psychometrika 12:153; with the correction of Edwards 1948, ibid. 13:185). A group
    of near-duplicates counts as one, with the square of its common difference, since its members
    are not independent (Obuchowski 1998, Stat. Med. 17:1495). The interval has all gains that the
    test, with the same spread, would not tell from this one.

    Args:
        first: one option.
        second: another, evaluated on the same plan.
        groups: the plan's, of the examples that are measured.
    """
    ahead = first.right.astype(np.intp) - second.right
    by_group = np.bincount(groups, ahead)
    total, spread = float(by_group.sum()), math.sqrt(float((by_group**2).sum()))
    z = math.copysign(max(0.0, abs(total) - 1) / spread, total) if spread else 0.0
    return Difference(
        gain=total / len(ahead),
        only_first=int((ahead > 0).sum()),
        only_second=int((ahead < 0).sum()),
        z=z,
        margin=(CLEAR * spread + 1) / len(ahead),
    )
