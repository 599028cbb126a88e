"""Compares a live copy with its active version on stored examples that neither has learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import NDArray

from adapters import Head
from adapters.folds import stratified_folds
from adapters.live import LiveHead, live_head
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
"""Up to so many examples folds take the place of leaving out one.

Without one example, its class has a smaller share than before. Where a head of few examples knows
little more than the shares of its classes, that alone makes it wrong, and any copy look better.
"""

FOLDS = 10

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


def compare(labels: Sequence[str], active: Sequence[bool], live: Sequence[bool]) -> Comparison:
    """Compares both by the examples on which each was right.

    The error is that of a difference of paired shares (McNemar 1947, Psychometrika 12:153). A class
    is shown to fare worse by a sign test on those of its examples that exactly one of the two gets
    right, at an error rate that is shared among the classes (Bonferroni). Without it, what is
    always mislabelled would be outweighed by what is gained elsewhere.
    """
    one, other, classes = np.array(active), np.array(live), np.array(labels, dtype=object)
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
    error = math.sqrt(int((one != other).sum())) / len(classes)
    return Comparison(
        float(one.mean()), float(other.mean()), len(classes), error, worst if shown else None
    )


def held_out(head: Head, examples: Sequence[Example]) -> dict[str, bool]:
    """Returns by digest whether a head like this, trained without an example, is right about it."""
    live = train(head, examples)
    if len(examples) > FEW or not live.ready:
        right = left_out(live, examples, [item.weight for item in examples])
        return {item.digest: bool(r) for item, r in zip(examples, right, strict=True)}
    _, targets = np.unique([item.label for item in examples], return_inverse=True)
    folds = stratified_folds(targets, min(FOLDS, len(examples)), seed=0)
    found: dict[str, bool] = {}
    for fold in np.unique(folds):
        rest = train(head, [item for item, f in zip(examples, folds, strict=True) if f != fold])
        out = [item for item, f in zip(examples, folds, strict=True) if f == fold]
        correct = right_about(rest.head if rest.ready else None, out)
        found |= {item.digest: bool(r) for item, r in zip(out, correct, strict=True)}
    return found


def left_out(
    live: LiveHead, examples: Sequence[Example], weights: Sequence[float]
) -> NDArray[np.bool_]:
    """Returns which of the examples that a copy is built on it gets right without them."""
    if not examples:
        return np.empty(0, dtype=np.bool_)
    return live.held_out(
        np.stack([item.vector for item in examples]),
        [item.label for item in examples],
        np.array(weights, dtype=np.float64),
    )


def left_out_anchors(
    live: LiveHead, known: Mapping[str, tuple[str, float]], anchors: Sequence[Member]
) -> list[bool]:
    """Returns whether a copy gets each anchor right without it.

    One that feedback has given another label does not count in the copy's favour.

    Args:
        known: label and weight by digest of what the copy is built on.
    """
    same = [item for item in anchors if known[item.digest][0] == item.label]
    right = left_out(live, same, [known[item.digest][1] for item in same])
    found = {item.digest for item, r in zip(same, right, strict=True) if r}
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
