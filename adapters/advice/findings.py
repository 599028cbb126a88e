"""What follows from the results of all options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adapters.advice.comparison import Difference, OptionResult, Plan, compare
from adapters.advice.curves import PowerLaw
from adapters.advice.near_duplicates import DuplicateGroups
from adapters.advice.report import DIRECT, EITHER, MAJORITY, NOTHING, TRANSFER, Geometry

LAST_POINTS = 2
"""Points of a learning curve, from its end, that options are ordered by."""


@dataclass(frozen=True, eq=False)
class Findings:
    """All that is known when the options have been evaluated.

    Attributes:
        plan: what they were evaluated on.
        duplicates: groups of near-duplicates.
        results: of the majority, direct training, and a head on each backbone, by name.
        geometries: how the examples lie, by backbone; one at least.
        raw: what direct training learns from, in words.
    """

    plan: Plan
    duplicates: DuplicateGroups
    results: Mapping[str, OptionResult]
    geometries: Mapping[str, Geometry]
    raw: str

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.plan.targets)

    @property
    def majority(self) -> OptionResult:
        """Always answering the most frequent class."""
        return self.results[MAJORITY]

    @property
    def direct(self) -> OptionResult:
        """Direct training on raw inputs."""
        return self.results[DIRECT]

    @cached_property
    def heads(self) -> Sequence[OptionResult]:
        """Heads on backbones, best first."""
        return sorted((self.results[name] for name in self.geometries), key=rank)

    @property
    def head(self) -> OptionResult:
        """The best head."""
        return self.heads[0]

    @cached_property
    def transfer(self) -> Difference:
        """What the best head is ahead of direct training."""
        return self.compare(self.head, self.direct)

    @cached_property
    def best(self) -> OptionResult:
        """The most promising option."""
        return min(self.results.values(), key=rank)

    @cached_property
    def verdict(self) -> str:
        """Whether transfer helps.

        Nothing helps if no option is clearly better than the most frequent class alone. Otherwise
        the best head and direct training decide.
        """
        found = [self.compare(one, self.majority) for one in (self.direct, *self.heads)]
        if not any(one.clear and one.gain > 0 for one in found):
            return NOTHING
        if not self.transfer.clear:
            return EITHER
        return TRANSFER if self.transfer.gain > 0 else DIRECT

    @property
    def recommended(self) -> OptionResult:
        """The option that is most likely best: by what is clear, else by what promises most."""
        if self.verdict == TRANSFER:
            return self.head
        if self.verdict == NOTHING and rank(self.best)[0] == rank(self.majority)[0]:
            return self.majority
        return self.direct if self.verdict == DIRECT else self.best

    def compare(self, first: OptionResult, second: OptionResult) -> Difference:
        """Return what the first is ahead of the second."""
        return compare(first, second, self.plan.groups[self.plan.scored])

    def law(self, option: OptionResult) -> PowerLaw | None:
        """Return the power law through an option's learning curve."""
        return PowerLaw.of(option.curve, self.n)

    def doubled(self, option: OptionResult) -> float | None:
        """Return what twice the examples would add to an option's accuracy; None if unknown."""
        law = self.law(option)
        if law is None:
            return None
        return law.accuracy(2 * self.n) - law.accuracy(self.n)

    @property
    def typical_class(self) -> int:
        """Examples of a class: half of the classes have as many."""
        return int(np.median(np.bincount(self.plan.targets)))


def rank(option: OptionResult) -> tuple[float, float]:
    """Order options from the most promising to the least: by accuracy; then by log-loss.

    The accuracy is the mean of the last two of the learning curve, with half of the examples and
    with all: two measurements of one thing, of which either alone is more subject to luck.
    """
    accuracies = [point.accuracy for point in option.curve[-LAST_POINTS:]]
    return -sum(accuracies) / len(accuracies), option.estimate.log_loss
