"""Temperature scaling: one number that makes probabilities mean what they say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_TEMPERATURE = 0.005
MAX_TEMPERATURE = 100.0

_STEPS = 100
_TOLERANCE = 1e-4


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


def fit_temperature(
    logits: NDArray[np.float64], targets: NDArray[np.intp], start: float | None = None
) -> float:
    """Return the temperature that minimises the log-loss of held-out logits.

    Temperature scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599). One imaginary example
    whose label is any class with equal probability is added in the spirit of Platt (1999), so that
    a small set without a mistake does not claim certainty. The loss is convex in
    1 / temperature; Newton steps are kept inside a shrinking bracket.

    Args:
        logits: of shape (n, classes), of examples that the scoring model had not seen.
        targets: class indices of shape (n,).
        start: a guess, e.g. the temperature of a similar model.

    Returns:
        A number between `MIN_TEMPERATURE` and `MAX_TEMPERATURE`.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    n = len(targets)
    right = float(shifted[np.arange(n), targets].sum())
    wanted = (right + float(shifted.mean())) / (n + 1)
    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    beta = min(max(1 / start if start else 1 / (shifted.std() + MIN_TEMPERATURE), low), high)
    for _ in range(_STEPS):
        slope, curvature = _slope(shifted, beta, wanted)
        low, high = (low, beta) if slope > 0 else (beta, high)
        newton = beta - slope / curvature if curvature > 0 else np.inf
        following = newton if low < newton < high else float(np.sqrt(low * high))
        if abs(following - beta) <= _TOLERANCE * beta:
            return 1 / following
        beta = following
    return 1 / beta


def _slope(shifted: NDArray[np.float64], beta: float, wanted: float) -> tuple[float, float]:
    """Return first and second derivative of the mean loss with respect to beta."""
    weights = np.exp(beta * shifted)
    total = weights.sum(axis=1)
    weights *= shifted
    mean = weights.sum(axis=1) / total
    weights *= shifted
    square = weights.sum(axis=1) / total
    return float(mean.mean()) - wanted, float((square - mean**2).mean())
