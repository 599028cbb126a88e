"""From which probability on a head's answers may be accepted without anybody looking at them.

Answers are accepted whose likeliest class is more probable than a threshold. Each threshold is a
hypothesis: "of what is accepted, a smaller share than wanted is right". Held-out predictions reject
it if the lower end of the exact interval of that share (Clopper and Pearson 1934, Biometrika
26:404) is no lower than what is wanted. To look at many thresholds and keep the best makes such an
interval too good. So they are tested as in "Learn then Test" (Angelopoulos, Bates, Candes, Jordan
and Lei 2021, https://arxiv.org/abs/2110.01052): in a fixed sequence, from the highest threshold
down, which ends at the first that is not rejected and costs nothing; from several starts, which
share the error (Bonferroni). Which predictions are right decides neither about the thresholds nor
about the starts. A threshold is the probability of the most probable prediction that is not
accepted, so that those above it are an independent sample of what is accepted.

Examples of a group count as `adapters.groups.effective_count` says, as in the interval of Korn and
Graubard (1998, Survey Methodology 24:193), which takes an effective number for the number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import NDArray

from adapters.errors import InvalidSpec

MIN_SHARE, MAX_SHARE = 0.5, 0.9999
"""Of precision and confidence that can be wanted."""

MAX_STARTS = 6
"""Tests that share the error: the highest threshold that is tried first accepts a 64th."""

STEPS = 64
"""Equal steps in which the share that is accepted grows to all; finer ones lie below the first."""

SHOWN_ERROR = 0.025
"""Error of each end of the intervals that are shown beside single points of a curve."""

FEWEST_ACCEPTED = 8

Float = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """What is wanted of answers that are accepted.

    Attributes:
        precision: share of them that is right, at least; from 0.5 to 0.9999.
        confidence: in at least this share of cases a threshold keeps that; from 0.5 to 0.9999.

    Raises:
        InvalidSpec: if one of them is out of range.
    """

    precision: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in ("precision", "confidence"):
            value = getattr(self, name)
            if not MIN_SHARE <= value <= MAX_SHARE:
                limit = f"from {MIN_SHARE} to {MAX_SHARE}"
                raise InvalidSpec.at(
                    f"decide.{name}", "{field} must be {limit}, is {value}", limit, value
                )


@dataclass(frozen=True, slots=True)
class DecisionPoint:
    """What a threshold does to held-out predictions.

    Attributes:
        threshold: accepted is what is more probable than this.
        accepted: how many are.
        right: how many of these are right.
        effective: how many independent ones those accepted are worth.
    """

    threshold: float
    accepted: int
    right: int
    effective: float


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """What thresholds do, from the fewest accepted to all; thresholds are from 0 to 1.

    Attributes:
        points: the last one accepts everything.
        optimism: share by which the accuracy of all predictions is too high, as in `Estimate`.
    """

    points: tuple[DecisionPoint, ...]
    optimism: float = 0.0

    @classmethod
    def of(
        cls,
        logits: Float,
        targets: Indices,
        temperature: float,
        groups: Indices | None = None,
        optimism: float = 0.0,
    ) -> DecisionCurve:
        """Sum up held-out logits.

        Args:
            logits: of shape (n, classes), n at least 1, of examples their models had not seen.
            targets: class indices of shape (n,).
            temperature: that calibrates them.
            groups: the group of each example, of shape (n,); None if they are independent.
            optimism: by which a choice on these examples has made the accuracy too high.
        """
        n = len(targets)
        below = (logits - logits.max(axis=1, keepdims=True)) / temperature
        # As they are served, so that what is equal there is equal here.
        confidence = (1 / np.exp(below).sum(axis=1)).astype(np.float32)
        order = np.argsort(-confidence, kind="stable")
        confidence = confidence[order]
        right = np.cumsum(logits.argmax(axis=1)[order] == targets[order])
        worth = _effective(np.arange(n) if groups is None else groups[order])
        ends = np.append(np.flatnonzero(np.diff(confidence)) + 1, n)
        ranks = np.unique(ends[np.searchsorted(ends, _ranks(n))])
        points = (
            DecisionPoint(
                threshold=float(confidence[rank]) if rank < n else 0.0,
                accepted=rank,
                right=int(right[rank - 1]),
                effective=float(worth[rank - 1]),
            )
            for rank in ranks.tolist()
        )
        return cls(tuple(points), optimism)

    @property
    def examples(self) -> int:
        """On how many predictions it was measured."""
        return self.points[-1].accepted

    def precision(self, point: DecisionPoint) -> float:
        """Return the share of accepted predictions that is right, less their part of the optimism.

        Luck that hides errors is taken to hide the same share of them everywhere.
        """
        wrong = 1 - point.right / point.accepted
        last = self.points[-1]
        overall = 1 - last.right / last.accepted
        more = self.optimism / overall if overall else 0.0
        return max(0.0, 1 - wrong * (1 + more))

    def interval(self, point: DecisionPoint, error: float = SHOWN_ERROR) -> tuple[float, float]:
        """Return the ends of the exact interval of a point's precision, each with this error."""
        n = point.effective
        right = self.precision(point) * n
        low = scipy.special.betaincinv(right, n - right + 1, error) if right > 0 else 0.0
        high = scipy.special.betaincinv(right + 1, n - right, 1 - error) if n > right else 1.0
        return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What is accepted by a rule.

    Attributes:
        threshold: accepted is what is more probable than this; None where nothing is.
        share: of held-out predictions that is accepted, as are those that follow.
        precision: share of the accepted that is right, less their part of the optimism.
        precision_low: lower end of its interval, no lower than what the rule wants.
        precision_high: upper end of it.
        accepted: how many are accepted.
        examples: of how many.
        reason: why nothing is accepted, in words; empty if something is.
    """

    threshold: float | None
    share: float = 0.0
    precision: float = 0.0
    precision_low: float = 0.0
    precision_high: float = 0.0
    accepted: int = 0
    examples: int = 0
    reason: str = ""

    @classmethod
    def none(cls, reason: str, examples: int = 0) -> Acceptance:
        """Return that nothing is accepted, and why."""
        return cls(None, examples=examples, reason=reason)


def accept(curve: DecisionCurve, rule: DecisionRule) -> Acceptance:
    """Choose the lowest threshold that is shown to keep a rule.

    The probability to choose one that does not keep it is at most `1 - rule.confidence`, for inputs
    that are like the examples.
    """
    total, error = curve.points[-1].effective, 1 - rule.confidence
    starts, error_each = _starts(curve, rule)
    if not starts:
        needed = math.ceil(_fewest(error, rule.precision))
        return Acceptance.none(
            f"{rule.precision:.4g} at {rule.confidence:.4g} confidence takes {needed} held-out "
            f"predictions at least, if all of them are right; there are {curve.examples}, worth "
            f"{total:.0f} independent ones",
            curve.examples,
        )
    last = None
    for start in starts:
        for place in range(start, len(curve.points)):
            low, _ = curve.interval(curve.points[place], error_each)
            if low < rule.precision:
                break
            last = max(place, last or 0)
    if last is None:
        return Acceptance.none(
            f"no threshold is shown to reach {rule.precision:.4g} at {rule.confidence:.4g} "
            "confidence on the held-out predictions",
            curve.examples,
        )
    point = curve.points[last]
    low, high = curve.interval(point, error_each)
    return Acceptance(
        threshold=point.threshold,
        share=point.accepted / curve.examples,
        precision=curve.precision(point),
        precision_low=low,
        precision_high=high,
        accepted=point.accepted,
        examples=curve.examples,
    )


def _starts(curve: DecisionCurve, rule: DecisionRule) -> tuple[list[int], float]:
    """Return where sequences of tests start, and the error that each may make.

    They accept a half, a quarter and so on of the predictions, as long as so many could show what
    is wanted if all of them were right; at least one does, if there are enough at all.
    """
    total, error = curve.points[-1].effective, 1 - rule.confidence
    count = max(
        (m for m in range(2, MAX_STARTS + 1) if total / 2**m >= _fewest(error / m, rule.precision)),
        default=1,
    )
    fewest = _fewest(error / count, rule.precision)
    worth = [point.effective for point in curve.points]
    wanted = [max(fewest, total / 2**i) for i in range(1, count + 1)]
    found = {
        next((place for place, size in enumerate(worth) if size >= least), None) for least in wanted
    }
    return sorted(place for place in found if place is not None), error / count


def _fewest(error: float, precision: float) -> float:
    """Return how many predictions, all of them right, show a precision with this error."""
    return math.log(error) / math.log(precision)


def _ranks(n: int) -> Indices:
    """Return how many of n predictions the points of a curve accept."""
    linear = np.ceil(n * np.arange(1, STEPS + 1) / STEPS)
    halvings = max(0.0, math.log2(n / STEPS / FEWEST_ACCEPTED))
    finer = np.ceil(n / STEPS / 2 ** (np.arange(1, 4 * halvings + 1) / 4))
    return np.unique(np.concatenate([finer, linear])).astype(np.intp)


def _effective(groups: Indices) -> Float:
    """Return how many independent examples the first one, two and so on are worth; shape (n,)."""
    n = len(groups)
    by_group = np.argsort(groups, kind="stable")
    first = np.flatnonzero(np.diff(groups[by_group], prepend=groups[by_group[:1]] - 1))
    before = np.empty(n, dtype=np.intp)
    before[by_group] = np.arange(n) - np.repeat(first, np.diff(np.append(first, n)))
    squares = np.cumsum(2.0 * before + 1)
    worth: Float = np.arange(1, n + 1, dtype=np.float64) ** 2 / squares
    return worth
