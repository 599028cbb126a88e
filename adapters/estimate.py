"""Estimates from logits of examples that the scoring model had not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import ArrayLike, NDArray

from adapters.calibration import fit_temperature, log_loss
from adapters.errors import InvalidExamples
from adapters.groups import effective_count
from adapters.head import Head
from adapters.report import ClassReport, Estimate, Evaluation, ReliabilityBin

BINS = 10

_Z95 = 1.959963984540054


def wilson_interval(right: float, n: float) -> tuple[float, float]:
    """Return the 95 % score interval of a share `right / n` (Wilson 1927, JASA 22:209).

    Neither needs to be a whole number: `n` may be what examples in groups are worth.
    """
    share, spread = right / n, _Z95**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z95 / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def estimate(
    logits: NDArray[np.float64],
    targets: NDArray[np.intp],
    temperature: float,
    method: str,
    groups: NDArray[np.intp] | None = None,
    optimism: float = 0.0,
) -> Estimate:
    """Sum up held-out logits of shape (n, classes) against class indices of shape (n,).

    The interval is that of as many examples as those in `groups` are worth, by `effective_count`;
    None means that each is independent of all others. It lies around the share of right answers
    less `optimism`, by which a choice on the same examples has made that share too high, and
    reaches up to that share at least.
    """
    n = len(targets)
    right = int(np.count_nonzero(logits.argmax(axis=1) == targets))
    worth = float(n) if groups is None else effective_count(groups)
    believed = right if worth == n else right / n * worth
    low, high = wilson_interval(max(0.0, believed - optimism * worth), worth)
    high = max(high, right / n)
    return Estimate(
        method=method,
        accuracy=right / n,
        accuracy_low=low,
        accuracy_high=high,
        log_loss=log_loss(logits, targets, temperature),
        examples=n,
        groups=n if groups is None else len(np.unique(groups)),
        effective_examples=worth,
        optimism=optimism,
    )


@dataclass(frozen=True, eq=False)
class ValidationResult:
    """Held-out logits (n, classes), their temperature, and the estimate they give.

    Rows of examples that are never held out are nan.
    """

    logits: NDArray[np.float64]
    temperature: float
    estimate: Estimate

    @classmethod
    def of(
        cls,
        logits: NDArray[np.float64],
        targets: NDArray[np.intp],
        folds: int,
        groups: NDArray[np.intp] | None = None,
        *,
        method: str = "",
        optimism: float = 0.0,
    ) -> ValidationResult:
        """Calibrate logits and sum them up; every example is a group of its own if None.

        Args:
            method: how they were made, in words, where it is not cross-validation on these folds.
            optimism: of the estimate, by a choice on the same logits.
        """
        n = len(targets)
        scored = np.flatnonzero(~np.isnan(logits[:, 0]))
        own = (np.arange(n) if groups is None else groups)[scored]
        some, right = logits[scored], targets[scored]
        temperature = fit_temperature(some, right)
        method = method or _cross_validation(folds, n, len(np.unique(own)))
        guess = estimate(some, right, temperature, method, own, optimism)
        return cls(logits, temperature, guess)

    def losses(self, targets: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the calibrated log-loss of each example, nan without logits; shape (n,)."""
        scaled = self.logits / self.temperature
        right: NDArray[np.float64] = scaled[np.arange(len(targets)), targets]
        return np.asarray(scipy.special.logsumexp(scaled, axis=1) - right)


def _cross_validation(count: int, n: int, groups: int) -> str:
    """Name an estimate by its number of folds, of examples, and of groups."""
    if count == n:
        return "leave-one-out"
    return "leave-one-group-out" if count == groups else f"{count}-fold cross-validation"


def evaluation(
    logits: NDArray[np.float64],
    targets: NDArray[np.intp],
    labels: Sequence[str],
    temperature: float,
    method: str,
    groups: NDArray[np.intp] | None = None,
) -> Evaluation:
    """Sum up held-out logits in more detail; every example counts once, whatever its weight.

    Args:
        logits: of shape (n, classes), n at least 1.
        targets: class indices of shape (n,).
        labels: one per class.
        temperature: divides the logits before the softmax.
        method: how they were made, for the estimate.
        groups: the group of each row, of shape (n,); None if all are independent.
    """
    predicted = logits.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=np.intp)
    np.add.at(confusion, (targets, predicted), 1)
    bins = reliability(confidences(logits, temperature), predicted == targets)
    return Evaluation(
        estimate=estimate(logits, targets, temperature, method, groups),
        classes=_class_reports(labels, confusion),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        expected_calibration_error=calibration_error(bins),
        reliability=bins,
    )


def evaluate(head: Head, embeddings: ArrayLike, labels: Sequence[str]) -> Evaluation:
    """Measure a head on held-out examples.

    Args:
        head: the head to measure.
        embeddings: of shape (n, dim), n at least 1; none of them was used to train the head.
        labels: one per embedding.

    Raises:
        InvalidEmbeddings: if the shape does not fit the head or a number is not finite.
        InvalidExamples: if there are none, or not one label per embedding.
        UnknownLabel: if a label is none of the head's.
    """
    targets = head.class_indices(labels)
    logits = head.logits(embeddings)
    if not len(logits) or len(logits) != len(targets):
        raise InvalidExamples(
            f"there are {len(targets)} labels for {len(logits)} embeddings, expected one each",
            field="labels",
            limit=max(1, len(logits)),
            value=len(targets),
        )
    return evaluation(logits, targets, head.labels, head.temperature, "held-out")


def confidences(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return the probability of each row's likeliest class; shape (n,)."""
    below = (logits - logits.max(axis=1, keepdims=True)) / temperature
    share: NDArray[np.float64] = 1 / np.exp(below).sum(axis=1)
    return share


def reliability(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], count: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Gather predictions in bins of equal mass, from the least confident to the most.

    Args:
        confidence: probability of each predicted class, of shape (n,).
        right: whether each was right, of shape (n,).
        count: number of bins; fewer where there are fewer predictions.
    """
    order = np.argsort(confidence, kind="stable")
    return tuple(
        ReliabilityBin(len(rows), float(confidence[rows].mean()), float(right[rows].mean()))
        for rows in np.array_split(order, min(count, len(order)))
    )


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Return the mean distance of confidence and accuracy over predictions.

    Naeini et al. 2015, AAAI 29:2901, with bins of equal mass. Bins of few predictions have a
    distance by chance alone, so on small sets the figure is too high.
    """
    total = sum(b.examples for b in bins)
    return sum(b.examples * abs(b.confidence - b.accuracy) for b in bins) / total


def _class_reports(labels: Sequence[str], confusion: NDArray[np.intp]) -> tuple[ClassReport, ...]:
    support, predicted = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
    hits = confusion.diagonal().tolist()
    return tuple(
        ClassReport(
            label=label,
            examples=there,
            precision=_ratio(hit, called),
            recall=_ratio(hit, there),
            f1=_ratio(2 * hit, called + there),
        )
        for label, hit, there, called in zip(labels, hits, support, predicted, strict=True)
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
