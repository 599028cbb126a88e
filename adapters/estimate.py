"""Estimates from logits of examples that the scoring model had not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adapters.calibration import log_loss
from adapters.head import Head
from adapters.report import Estimate

_Z95 = 1.959963984540054


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share `right / n` (Wilson 1927, JASA 22:209)."""
    share, spread = right / n, _Z95**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z95 / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def estimate(
    logits: NDArray[np.float64], targets: NDArray[np.intp], temperature: float, method: str
) -> Estimate:
    """Sum up held-out logits of shape (n, classes) against class indices of shape (n,)."""
    n = len(targets)
    right = int(np.count_nonzero(logits.argmax(axis=1) == targets))
    low, high = wilson_interval(right, n)
    return Estimate(method, right / n, low, high, log_loss(logits, targets, temperature))


def evaluate(head: Head, embeddings: ArrayLike, labels: Sequence[str]) -> Estimate:
    """Measure a head on held-out examples.

    Args:
        head: the head to measure.
        embeddings: of shape (n, dim), n at least 1; none of them was used to train the head.
        labels: one per embedding.

    Raises:
        InvalidEmbeddings: if the shape does not fit the head or a number is not finite.
        UnknownLabel: if a label is none of the head's.
    """
    targets = head.class_indices(labels)
    return estimate(head.logits(embeddings), targets, head.temperature, "held-out")
