"""Compares a live copy with its active version on stored examples that neither has learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import NDArray

from adapters import Head, HeadSpec
from adapters.folds import grouped_folds, stratified_folds
from adapters.groups import Groups, numbers_of
from adapters.groups import held_out as can_be_held_out
from adapters.live import LiveHead, chosen_anew, live_head
from adapters.near_copies import EXACT
from service.serving.scoring import answers
from service.store.live_set import LiveFeedback, Member

MAX_LOSS = 0.01
"""Accuracy that a live copy may lose on the stored examples."""

DOUBT = 0.5
"""Standard errors of the difference by which it must stay clear of that: few examples are weak
evidence."""

CLASS_ERROR_RATE = 0.3
"""How often at most a copy under which no class fares worse is held back for one that seems to."""

FEW = 500
"""With at most so many examples, folds take the place of leaving out one.

Without one example, its class has a smaller share than before. Where a head of few examples knows
little more than the shares of its classes, that alone makes it wrong, and any copy look better.
"""

FOLDS = 10

MEASURED = 200
"""Predictions that a measure by folds takes at least, by dealing few examples again and again: on
30, where another deal changes every fourth answer, one deal says little."""

_SLACK = 1e-9

Example = Member | LiveFeedback


@dataclass(frozen=True, slots=True)
class Comparison:
    """The accuracy of both on the same examples.

    Attributes:
        active: share of them that the active version gets right.
        live: likewise the live copy.
        examples: how many; nothing speaks for a copy that was compared on none.
        error: standard error of the difference.
        worse_class: one that fares worse under the live copy, if any does.
    """

    active: float
    live: float
    examples: int
    error: float = 0.0
    worse_class: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the live copy lost at most one point, with some certainty, and no class."""
        needed = self.active - MAX_LOSS + DOUBT * self.error - _SLACK
        return self.examples > 0 and self.worse_class is None and self.live >= needed


def compare(labels: Sequence[str], active: Sequence[float], live: Sequence[bool]) -> Comparison:
    """Compares both by how often each was right on the examples.

    The error is that of a difference of paired shares (McNemar 1947, Psychometrika 12:153). A class
    is shown to fare worse by a sign test on those of its examples that exactly one of the two gets
    right, at an error rate that is shared among the classes (Bonferroni). Without it, what is
    always mislabelled would be outweighed by what is gained elsewhere.

    Args:
        labels: of the examples.
        active: how often the active version was right about each, from 0 to 1; more often than not
            counts as right in the sign test.
        live: whether the live copy was.
    """
    share, other = np.array(active, dtype=np.float64), np.array(live, dtype=np.bool_)
    one, classes = share > 0.5, np.array(labels, dtype=object)
    if not len(classes):
        return Comparison(0.0, 0.0, 0)
    names = sorted(set(labels))
    chances = {}
    for name in names:
        lost = int((one & ~other)[classes == name].sum())
        won = int((other & ~one)[classes == name].sum())
        if lost > won:
            chances[name] = float(scipy.special.bdtrc(lost - 1, lost + won, 0.5))
    worst = min(chances, key=lambda name: chances[name], default=None)
    shown = worst is not None and chances[worst] <= CLASS_ERROR_RATE / len(names)
    error = math.sqrt(float(np.sum((share - other) ** 2))) / len(classes)
    return Comparison(
        float(share.mean()), float(other.mean()), len(classes), error, worst if shown else None
    )


def groups_by_digest(examples: Sequence[Example]) -> dict[str, int]:
    """Returns the number of the group of each example, by its digest."""
    numbers = groups_of(examples).numbers.tolist()
    return {item.digest: number for item, number in zip(examples, numbers, strict=True)}


def groups_of(examples: Sequence[Example]) -> Groups:
    """Returns which examples belong together: as named, and as near-copies among not too many."""
    if not examples:
        return Groups.alone(0)
    _, targets = np.unique([item.label for item in examples], return_inverse=True)
    names = [item.group for item in examples]
    if len(examples) > EXACT:
        return Groups(np.unique(numbers_of(names), return_inverse=True)[1])
    return Groups.find(np.stack([item.vector for item in examples]), targets, names)


def held_out(
    head: Head,
    examples: Sequence[Example],
    groups: Mapping[str, int],
    spec: HeadSpec | None = None,
) -> dict[str, float]:
    """Returns by digest how often a head like this is right about an example it did not learn.

    It is trained without the example's group. Nobody is right about the only group of a class.

    Args:
        groups: the number of each example's group, by digest.
        spec: by which every fold chooses front and strength for itself; None keeps the head's. A
            choice that has seen an example is too good on it, and of few examples by much.
    """
    live = train(head, examples)
    if len(examples) > FEW or not live.ready:
        right = left_out(live, examples, [item.weight for item in examples], groups)
        return {item.digest: float(r) for item, r in zip(examples, right, strict=True)}
    deals = math.ceil(MEASURED / len(examples))
    counts = np.zeros(len(examples))
    for deal in range(deals):
        folds = _folds(examples, groups, deal)
        for fold in np.unique(folds[folds >= 0]):
            kept = [item for item, f in zip(examples, folds, strict=True) if f != fold]
            out = np.flatnonzero(folds == fold)
            rest = train(head if spec is None else choose(head, spec, kept), kept)
            found = right_about(
                rest.head if rest.ready else None, [examples[i] for i in out.tolist()]
            )
            counts[out] += [bool(right) for right in found]
    return {item.digest: float(n) / deals for item, n in zip(examples, counts, strict=True)}


def _folds(examples: Sequence[Example], groups: Mapping[str, int], seed: int) -> NDArray[np.intp]:
    """Returns the fold of each example; -1 for those of the only group of a class."""
    _, targets = np.unique([item.label for item in examples], return_inverse=True)
    numbers = np.array([groups[item.digest] for item in examples], dtype=np.intp)
    several = len(np.unique(numbers))
    if several == len(examples):
        return stratified_folds(targets, min(FOLDS, several), seed)
    held = can_be_held_out(targets, numbers, int(targets.max()) + 1)
    if not held.any():
        return np.full(len(examples), -1, dtype=np.intp)
    count = min(FOLDS, len(np.unique(numbers[held])))
    return grouped_folds(targets, numbers, held, count, seed)


def left_out(
    live: LiveHead,
    examples: Sequence[Example],
    weights: Sequence[float],
    groups: Mapping[str, int],
) -> NDArray[np.bool_]:
    """Returns which of the examples that a copy is built on it gets right without their groups."""
    if not examples:
        return np.empty(0, dtype=np.bool_)
    return live.held_out(
        np.stack([item.vector for item in examples]),
        [item.label for item in examples],
        np.array(weights, dtype=np.float64),
        np.array([groups[item.digest] for item in examples], dtype=np.intp),
    )


def left_out_anchors(
    live: LiveHead,
    known: Mapping[str, tuple[str, float]],
    anchors: Sequence[Member],
    everything: Sequence[Example],
    groups: Mapping[str, int],
) -> list[bool]:
    """Returns whether a copy gets each anchor right without it and all else of its group.

    One that feedback has given another label does not count in the copy's favour. Likewise, what
    feedback says of a near-copy under another label stays: the harm it does is to be seen.

    Args:
        known: label and weight by digest of what the copy is built on.
        everything: what the copy is built on, with the labels of `known`.
        groups: numbers by digest.
    """
    same = [item for item in anchors if known[item.digest][0] == item.label]
    own = {item.digest for item in same}
    touched = {(groups[item.digest], item.label) for item in same}
    others = [
        item
        for item in everything
        if (groups[item.digest], item.label) in touched and item.digest not in own
    ]
    some = [*same, *others]
    right = left_out(live, some, [known[item.digest][1] for item in some], groups)
    found = {item.digest for item, r in zip(some, right, strict=True) if r} & own
    return [item.digest in found for item in anchors]


def train(head: Head, examples: Sequence[Example]) -> LiveHead:
    """Trains a live copy of a head anew on these examples.

    Raises:
        adapters.InvalidArgument: no copy can move on from this version.
    """
    return live_head(
        head,
        _vectors(examples, head.dim),
        [item.label for item in examples],
        np.array([item.weight for item in examples], dtype=np.float64),
    )


def choose(version: Head, spec: HeadSpec, examples: Sequence[Example]) -> Head:
    """Trains a version anew on these examples, front and strength chosen on them."""
    return chosen_anew(
        version,
        spec,
        _vectors(examples, version.dim),
        [item.label for item in examples],
        np.array([item.weight for item in examples], dtype=np.float64),
        [item.group for item in examples],
    )


def right_about(head: Head | None, examples: Sequence[Example]) -> list[bool | None]:
    """Returns whether a head gives each example its label; None without a head."""
    if head is None:
        return [None] * len(examples)
    found = answers(head, _vectors(examples, head.dim))
    return [label == item.label for label, item in zip(found, examples, strict=True)]


def _vectors(examples: Sequence[Example], dim: int) -> NDArray[np.float32]:
    if not examples:
        return np.empty((0, dim), dtype=np.float32)
    return np.stack([item.vector for item in examples])
