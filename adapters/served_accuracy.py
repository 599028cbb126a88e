"""How often answers were right that were served, from a random sample of them that people judged.

Some of the sample nobody judged: it was skipped, it expired, it still waits. Who judges chooses
what, and hard inputs are skipped more often, so what is judged says nothing of the rest. Without an
assumption about them, all of the rest may have been right, or none of it: the worst cases of
Horowitz and Manski (2000, JASA 95:77). Of n in the sample, r known to be right and w known to be
wrong, the share p that was right of all traffic is at least the share A that is known to be right,
and at most the share B that is not known to be wrong. r is binomial of n and A, n - w of n and B,
so that with the ends of Clopper and Pearson (1934, Biometrika 26:404), each missing with
probability 2.5 % at most,

    low  = the 2.5 % quantile of Beta(r, n - r + 1), 0 for r = 0
    high = the 97.5 % quantile of Beta(n - w + 1, w), 1 for w = 0

p lies outside with probability 5 % at most, whatever it is, however many were sampled, and whatever
kept people from judging the rest. Where all were judged this is the interval of Clopper and
Pearson. What is junk belongs to no class, so that no answer is right: it is left out. An input that
nobody judged may be junk, too, which the same bounds cover: without it less is unknown.

Where answers were drawn with different chances, each counts by the lowest of them over its own
(Horvitz and Thompson 1952, JASA 47:663): as many, on average, as would be there had all been drawn
with the lowest. Drawing them so would leave whole ones by chance; to count parts of all varies
less, so that the interval holds the share more often, if anything.

The bounds of a class follow in the same way. Of answers that named it, one nobody judged counts as
above. Of inputs that are of it, one nobody judged was missed at worst if another class was named,
and found at best if this one was.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import scipy.special

from adapters.errors import InvalidArgument

LEVEL = 0.95
"""Probability with which an interval holds the share."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of what was served.

    Attributes:
        value: of what was judged; None where nothing was.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    value: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Served:
    """Answers of the random sample that have all of this in common.

    Attributes:
        predicted: the class that was named; None for an answer that named none.
        judged: whether somebody has said what the input is.
        label: the class that it is; None for one that is of none of the head's classes, and for
            one that was not judged.
        count: how many these are; at least 0.
        chance: with which each was drawn; above 0, at most 1.
    """

    predicted: str | None
    judged: bool
    label: str | None
    count: int = 1
    chance: float = 1.0

    @property
    def right(self) -> bool:
        """Whether it is known to be right."""
        return self.judged and self.predicted == self.label


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often answers were right: how many were, were not, were not judged; and the share."""

    right: int
    wrong: int
    unknown: int
    share: Share


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """One class.

    Attributes:
        precision: of the answers that named it.
        recall: of the inputs that are of it, as far as they were judged. `unknown` are those that
            may be of it: all that were not judged.
    """

    label: str
    precision: Accuracy
    recall: Accuracy


def exact_interval(right: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of a share by Clopper and Pearson (1934, Biometrika 26:404).

    Raises:
        InvalidArgument: if not `0 <= right <= n`.
    """
    if not 0 <= right <= n:
        raise InvalidArgument(
            f"right must be from 0 to {n}, is {right}", field="right", limit=n, value=right
        )
    tail = (1 - LEVEL) / 2
    low = scipy.special.betaincinv(right, n - right + 1, tail) if right else 0.0
    high = scipy.special.betaincinv(right + 1, n - right, 1 - tail) if right < n else 1.0
    return float(low), float(high)


def accuracy(rows: Iterable[Served]) -> Accuracy:
    """Return how often answers were right."""
    found = list(rows)
    unknown = [row for row in found if not row.judged]
    return _accuracy(found, missed=unknown, found=unknown)


def by_class(rows: Iterable[Served]) -> list[ClassAccuracy]:
    """Return the same of each class that was named, or that an input is of; sorted by label."""
    named, known = defaultdict[str | None, list[Served]](list), defaultdict(list)
    for row in _merged(rows):
        named[row.predicted].append(row)
        if row.judged:
            known[row.label].append(row)
    unknown = {label: [row for row in found if not row.judged] for label, found in named.items()}
    labels = sorted(label for label in named.keys() | known.keys() if label is not None)
    return [
        ClassAccuracy(label, accuracy(named[label]), _recall(known[label], unknown, label))
        for label in labels
    ]


def _merged(rows: Iterable[Served]) -> list[Served]:
    """Return rows that have nothing but their count to tell them apart as one."""
    counts = Counter[tuple[str | None, bool, str | None, float]]()
    for row in rows:
        counts[row.predicted, row.judged, row.label, row.chance] += row.count
    return [
        Served(predicted, judged, label, count, chance)
        for (predicted, judged, label, chance), count in counts.items()
    ]


def _recall(
    known: Sequence[Served], unknown: Mapping[str | None, Sequence[Served]], label: str
) -> Accuracy:
    named = unknown.get(label, [])
    others = [row for other, found in unknown.items() if other != label for row in found]
    return _accuracy([*known, *named, *others], missed=others, found=named)


def _accuracy(
    rows: Sequence[Served], *, missed: Sequence[Served], found: Sequence[Served]
) -> Accuracy:
    """Return a share where of the unknown, `missed` are wrong at worst, `found` right at best."""
    judged = [row for row in rows if row.judged]
    right = [row for row in judged if row.right]
    low, _ = _interval(right, [*judged, *missed])
    _, high = _interval([*right, *found], [*judged, *found])
    value = _sum(right) / _sum(judged) if _count(judged) else None
    unknown = _count(rows) - _count(judged)
    share = Share(value, low, high)
    return Accuracy(_count(right), _count(judged) - _count(right), unknown, share)


def _interval(some: Sequence[Served], rows: Sequence[Served]) -> tuple[float, float]:
    """Return the interval of the share that some of the rows have."""
    lowest = min((row.chance for row in rows if row.count), default=1.0)
    n = sum(row.count * (lowest / row.chance) for row in rows)
    return exact_interval(min(n, sum(row.count * (lowest / row.chance) for row in some)), n)


def _sum(rows: Sequence[Served]) -> float:
    return sum(row.count / row.chance for row in rows)


def _count(rows: Sequence[Served]) -> int:
    return sum(row.count for row in rows)
