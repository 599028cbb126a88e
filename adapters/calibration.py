"""Temperature scaling: one number that makes probabilities mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.005, 100.0
"""In units of the logits' own spread (the standard deviation of their distances to the highest),
because that of one family's logits may be a millionth of another's."""

_STEPS = 100
_TOLERANCE = 1e-4
_ROUGH = 1e-2
"""The loss is flat at its minimum: this much of the temperature is a 1e-4th of the loss."""


def log_loss(
    logits: NDArray[np.float64], targets: NDArray[np.intp], temperature: float = 1.0
) -> float:
    """Return the mean negative log-probability of the targets, in nats.

    Args:
        logits: of shape (n, classes).
        targets: class indices of shape (n,).
        temperature: divides the logits before the softmax.
    """
    scaled = logits / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    right = scaled[np.arange(len(targets)), targets]
    np.exp(scaled, out=scaled)
    return float(np.mean(np.log(scaled.sum(axis=1)) - right))


def fit_temperature(logits: NDArray[np.float64], targets: NDArray[np.intp]) -> float:
    """Return the temperature that minimises the log-loss of held-out logits.

    Temperature scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599). One imaginary example
    whose label is any class with equal probability is added in the spirit of Platt (1999), so that
    a small set without a mistake does not claim certainty. The loss is convex in
    1 / temperature; Newton steps are kept inside a shrinking bracket.

    Args:
        logits: of shape (n, classes), of examples that the scoring model had not seen.
        targets: class indices of shape (n,).

    Returns:
        A number between `MIN_TEMPERATURE` and `MAX_TEMPERATURE` times the logits' spread.
    """
    shifted = logits[None] - logits.max(axis=1)[None, :, None]
    return float(1 / _fit(shifted, targets, _TOLERANCE)[0])


def calibrated_losses(
    logits: NDArray[np.float64], targets: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the temperatures of k models, to a hundredth, and their log-losses with them.

    Args:
        logits: of shape (k, n, classes), of examples that the scoring models had not seen.
        targets: class indices of shape (n,).

    Returns:
        Temperatures of shape (k,) and mean log-losses in nats, of shape (k,).
    """
    shifted = (logits - logits.max(axis=2, keepdims=True)).astype(np.float32)
    beta = _fit(shifted, targets, _ROUGH)
    right = beta * shifted[:, np.arange(len(targets)), targets].mean(axis=1, dtype=np.float64)
    powers = np.exp(beta[:, None, None].astype(np.float32) * shifted)
    return 1 / beta, np.log(powers.sum(axis=2)).mean(axis=1, dtype=np.float64) - right


def _fit(
    shifted: NDArray[np.floating[Any]], targets: NDArray[np.intp], tolerance: float
) -> NDArray[np.float64]:
    """Return the best 1 / temperature for each of k models' logits, whose row maxima are 0."""
    n = len(targets)
    right = shifted[:, np.arange(n), targets].sum(axis=1, dtype=np.float64)
    wanted = (right + shifted.mean(axis=(1, 2), dtype=np.float64)) / (n + 1)
    spread = shifted.std(axis=(1, 2), dtype=np.float64)
    spread = np.where(spread > 0, spread, 1.0)
    low, high = 1 / (MAX_TEMPERATURE * spread), 1 / (MIN_TEMPERATURE * spread)
    beta = 1 / spread
    for _ in range(_STEPS):
        slope, curvature = _slope(shifted, beta, wanted)
        low, high = np.where(slope > 0, low, beta), np.where(slope > 0, beta, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = beta - slope / curvature
        following = np.where((low < newton) & (newton < high), newton, np.sqrt(low * high))
        done = np.abs(following - beta) <= tolerance * beta
        beta = following
        if done.all():
            break
    return beta


def _slope(
    shifted: NDArray[np.floating[Any]], beta: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return first and second derivatives of the mean losses with respect to beta."""
    powers = np.exp(beta[:, None, None].astype(shifted.dtype) * shifted)
    total = powers.sum(axis=2)
    powers *= shifted
    mean = powers.sum(axis=2) / total
    powers *= shifted
    square = powers.sum(axis=2) / total
    slope = mean.mean(axis=1, dtype=np.float64) - wanted
    return slope, (square - mean**2).mean(axis=1, dtype=np.float64)
