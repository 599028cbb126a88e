"""What the options amount to, compared with one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adapters.advice.comparison import Difference, Judged, Plan, compare
from adapters.advice.curves import PowerLaw
from adapters.advice.near_duplicates import Copies
from adapters.advice.report import DIRECT, EITHER, MAJORITY, NOTHING, TRANSFER, Geometry

LOOKS = 2
"""Points of a learning curve, from its end, that options are ordered by."""


@dataclass(frozen=True, eq=False)
class Findings:
    """All that is known when the options are judged.

    Attributes:
        plan: what they were judged on.
        copies: near-duplicates.
        judged: the majority, direct training, and a head on each backbone, by name.
        geometries: how the examples lie, by backbone; one at least.
        raw: what direct training learns from, in words.
    """

    plan: Plan
    copies: Copies
    judged: Mapping[str, Judged]
    geometries: Mapping[str, Geometry]
    raw: str

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.plan.targets)

    @property
    def majority(self) -> Judged:
        """Always answering the most frequent class."""
        return self.judged[MAJORITY]

    @property
    def direct(self) -> Judged:
        """Direct training on raw inputs."""
        return self.judged[DIRECT]

    @cached_property
    def heads(self) -> Sequence[Judged]:
        """Heads on backbones, best first."""
        return sorted((self.judged[name] for name in self.geometries), key=rank)

    @property
    def head(self) -> Judged:
        """The best head."""
        return self.heads[0]

    @cached_property
    def transfer(self) -> Difference:
        """What the best head is ahead of direct training."""
        return self.compare(self.head, self.direct)

    @cached_property
    def best(self) -> Judged:
        """The most promising option."""
        return min(self.judged.values(), key=rank)

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
    def recommended(self) -> Judged:
        """The option that is most likely best: what is clear decides, else what promises most."""
        if self.verdict == TRANSFER:
            return self.head
        if self.verdict == NOTHING and rank(self.best)[0] == rank(self.majority)[0]:
            return self.majority
        return self.direct if self.verdict == DIRECT else self.best

    def compare(self, first: Judged, second: Judged) -> Difference:
        """Return what the first is ahead of the second."""
        return compare(first, second, self.plan.groups)

    def law(self, option: Judged) -> PowerLaw | None:
        """Return the power law through an option's learning curve."""
        return PowerLaw.of(option.curve, self.n)

    def doubled(self, option: Judged) -> float | None:
        """Return what twice the examples would add to an option's accuracy; None if unknown."""
        law = self.law(option)
        if law is None:
            return None
        return law.accuracy(2 * self.n) - law.accuracy(self.n)

    @property
    def typical_class(self) -> int:
        """Examples of a class: half of the classes have as many."""
        return int(np.median(np.bincount(self.plan.targets)))


def rank(option: Judged) -> tuple[float, float]:
    """Order options from the most promising to the least: by accuracy; then by log-loss.

    The accuracy is the mean of the last two of the learning curve, with half of the examples and
    with all: two looks at one question, of which either alone is more subject to luck.
    """
    looks = [point.accuracy for point in option.curve[-LOOKS:]]
    return -sum(looks) / len(looks), option.estimate.log_loss
