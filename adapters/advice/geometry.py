"""How data lie in the embeddings of a backbone, from the embeddings and labels alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray

Array = NDArray[np.float64]

NOISE = 1e-14
"""Squared singular values below this share of the largest one are rounding noise."""

WIDEST = 1e10
"""How far the ratio of the two precisions is looked for, in units of the largest squared singular
value, downwards and upwards. Evidence has no maximum where labels are a linear function of fewer
numbers than there are examples; there the range ends it."""

_GRID = 64
_TOLERANCE = 1e-7


def log_evidence(embeddings: NDArray[Any], targets: NDArray[np.intp]) -> float:
    """Return the log of the maximum evidence (LogME) per example and class.

    You et al. 2021, https://arxiv.org/abs/2102.11005: targets are one-hot, `y = F w + noise` with
    weights from N(0, 1 / alpha) and noise from N(0, 1 / beta); the evidence of each class's column
    is maximised over alpha and beta, its log divided by n and averaged over classes. The paper
    iterates towards a fixed point. Here beta is eliminated in closed form and the rest, one number
    `t = alpha / beta` for each class, is searched: with the singular values s of F,

        log evidence = -n / 2 (log(2 pi S / n) + 1) - 1 / 2 sum_i log(1 + s_i**2 / t)
        S = |y|**2 - sum_i (u_i' y)**2 s_i**2 / (s_i**2 + t)

    Args:
        embeddings: F, of shape (n, dim), as they are: the paper neither centres nor scales them.
        targets: class indices of shape (n,).
    """
    features = np.asarray(embeddings, dtype=np.float64)
    one_hot = np.eye(int(targets.max()) + 1)[targets]
    squares, projected = _decompose(features, one_hot)
    largest = float(squares.max(initial=0.0)) or 1.0
    rest = np.maximum((one_hot**2).sum(axis=0) - projected.sum(axis=0), 0.0)
    ends = np.log(largest) - np.log(WIDEST), np.log(largest) + np.log(WIDEST)
    grid = np.linspace(*ends, _GRID)
    values = np.array([_evidence(x, squares, projected, rest, len(features)) for x in grid])
    best = []
    for column, peak in enumerate(values.argmax(axis=0)):
        own = projected[:, [column]], rest[[column]]

        def loss(x: float, own: tuple[Array, Array] = own) -> float:
            return -float(_evidence(x, squares, *own, len(features))[0])

        bounds = grid[max(peak - 1, 0)], grid[min(peak + 1, _GRID - 1)]
        found = scipy.optimize.minimize_scalar(
            loss, bounds=bounds, method="bounded", options={"xatol": _TOLERANCE}
        )
        best.append(max(-found.fun, values[peak, column]))
    return float(np.mean(best)) / len(features)


def _decompose(features: Array, one_hot: Array) -> tuple[Array, Array]:
    """Return squared singular values (r,), and squares of u_i' y (r, classes)."""
    n, width = features.shape
    if n <= width:
        squares, left = scipy.linalg.eigh(features @ features.T)
        kept = squares > NOISE * squares[-1]
        return squares[kept], (left[:, kept].T @ one_hot) ** 2
    squares, right = scipy.linalg.eigh(features.T @ features)
    kept = squares > NOISE * squares[-1]
    across = right[:, kept].T @ (features.T @ one_hot)
    return squares[kept], across**2 / squares[kept, None]


def _evidence(x: float, squares: Array, projected: Array, rest: Array, n: int) -> Array:
    """Return the log evidence of each class at `t = exp(x)`; shape (classes,)."""
    t = np.exp(x)
    residual = rest + (t / (t + squares)) @ projected
    residual = np.maximum(residual, np.finfo(np.float64).tiny)
    volume = float(np.log1p(squares / t).sum())
    evidence: Array = -n / 2 * (np.log(2 * np.pi * residual / n) + 1) - volume / 2
    return evidence


def effective_rank(embeddings: NDArray[Any]) -> float:
    """Return in how many directions embeddings vary, from 1 to min(n - 1, dim).

    The exponential of the entropy of the singular values, which are divided by their sum (Roy and
    Vetterli 2007, EUSIPCO 15:606), of the centred embeddings. 0 if all of them are equal.

    Args:
        embeddings: of shape (n, dim).
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    centred = rows - rows.mean(axis=0)
    n, width = centred.shape
    gram = centred @ centred.T if n <= width else centred.T @ centred
    squares = scipy.linalg.eigvalsh(gram)
    values = np.sqrt(squares[squares > NOISE * max(squares[-1], 0.0)])
    if not len(values) or squares[-1] <= NOISE * float((rows**2).sum()):
        return 0.0
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def mean_similarity(embeddings: NDArray[Any]) -> float:
    """Return the mean cosine of two different embeddings, from -1 / (n - 1) to 1.

    Args:
        embeddings: of shape (n, dim), n at least 2; one of length zero is like none.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    units = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    total, n = units.sum(axis=0), len(units)
    own = float((units**2).sum())
    return (float(total @ total) - own) / (n * (n - 1))
