"""Which unlabelled examples are most worth a label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adapters.errors import InvalidArgument, InvalidEmbeddings
from adapters.head import Head
from adapters.novelty import unit

STRATEGIES = ("margin", "diverse", "random")
DEFAULT = "margin"
"""Of a head that is trained; before that it is "diverse"."""

MAX_POOL = 5000
"""Embeddings that are clustered at most, drawn at random, to bound the time."""

MAX_CLUSTERS = 100
SHORTLIST = 5
"""Uncertain embeddings to choose each suggestion from, so that they are not all alike."""

_ROUNDS = 10
_TRIALS = 8


def suggest(
    embeddings: ArrayLike,
    count: int,
    *,
    head: Head | None = None,
    labelled: ArrayLike | None = None,
    strategy: str | None = None,
    seed: int = 0,
) -> NDArray[np.intp]:
    """Choose unlabelled embeddings to ask for the labels of.

    - "margin": those whose two likeliest classes are nearest in probability (Scheffer et al. 2001),
      and of five times as many of these a diverse choice, as batches of near-copies teach little
      (Citovsky et al. 2021, https://arxiv.org/abs/2107.14263).
    - "diverse": typical ones from all regions, for the start: the members nearest the centres
      of k-means clusters of unit-length embeddings (Hacohen et al. 2022,
      https://arxiv.org/abs/2202.02794), clusters with few labelled embeddings first.
    - "random": drawn evenly.

    Args:
        embeddings: of shape (n, dim), finite.
        count: how many; at most n are returned.
        head: that is to improve; "margin" needs one.
        labelled: of shape (m, dim), embeddings that have a label; "diverse" keeps away from them.
        strategy: one of `STRATEGIES`; None for the default.
        seed: of every draw.

    Returns:
        Distinct rows of `embeddings`, most worth a label first; shape (min(count, n),).

    Raises:
        InvalidArgument: if the strategy is unknown or "margin" lacks a head, or count is below 1.
        InvalidEmbeddings: if a shape is wrong or a number is not finite.
    """
    strategy = strategy or (DEFAULT if head is not None else "diverse")
    if strategy not in STRATEGIES:
        raise _refusal("strategy", ", ".join(STRATEGIES), strategy)
    if count < 1:
        raise _refusal("count", ">= 1", count)
    rows = _rows(embeddings, "embeddings")
    rng = np.random.default_rng(seed)
    count = min(count, len(rows))
    if count == 0:
        return np.empty(0, dtype=np.intp)
    if strategy == "margin":
        if head is None:
            raise _refusal("strategy", "diverse or random without a trained head", strategy)
        shortlist = np.argsort(_margins(head, rows), kind="stable")[: SHORTLIST * count]
        return shortlist[_spread(unit(rows[shortlist]), count, rng)]
    pool = rng.permutation(len(rows))
    if strategy == "random" or count == len(rows):
        return pool[:count]
    pool = pool[: max(MAX_POOL, count)]
    known = None if labelled is None else unit(_rows(labelled, "labelled"))
    return pool[_spread(unit(rows[pool]), count, rng, known)]


def _margins(head: Head, rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return by how much the likeliest class leads; shape (n,)."""
    best = np.sort(head.probabilities(rows), axis=1)
    return np.asarray(best[:, -1] - best[:, -2])


def _spread(
    units: NDArray[np.float32],
    count: int,
    rng: np.random.Generator,
    known: NDArray[np.float32] | None = None,
) -> NDArray[np.intp]:
    """Choose `count` rows, in turn from clusters with few known ones, then from large ones."""
    known = units[:0] if known is None else known[-MAX_POOL:]
    everything = np.concatenate([units, known])
    clusters = min(count + len(known), len(everything), MAX_CLUSTERS)
    centres = _centres(everything, clusters, rng)
    distances = _distances(everything, centres)
    nearest, distance = distances.argmin(axis=1), distances.min(axis=1)
    n = len(units)
    sizes = np.bincount(nearest[:n], minlength=clusters)
    taken = np.bincount(nearest[n:], minlength=clusters)
    # The i-th choice from a cluster comes after as many as it has known ones.
    order = np.lexsort((distance[:n], nearest[:n]))
    first = np.cumsum(sizes) - sizes
    turn = np.empty(n, dtype=np.intp)
    turn[order] = np.arange(n) - first[nearest[order]]
    turn += taken[nearest[:n]]
    return np.lexsort((-sizes[nearest[:n]], turn))[:count]


def _centres(
    rows: NDArray[np.float32], count: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return centres of k-means, started by greedy k-means++ (Arthur and Vassilvitskii 2007)."""
    chosen = [int(rng.integers(len(rows)))]
    distance = _distances(rows, rows[chosen])[:, 0]
    while len(chosen) < count and distance.any():
        drawn = rng.choice(len(rows), _TRIALS, p=distance / distance.sum())
        nearer = np.minimum(distance[:, None], _distances(rows, rows[drawn]))
        best = int(nearer.sum(axis=0).argmin())
        chosen.append(int(drawn[best]))
        distance = nearer[:, best]
    centres = rows[chosen]
    for _ in range(_ROUNDS):
        nearest = _distances(rows, centres).argmin(axis=1)
        members = np.eye(len(centres), dtype=np.float32)[nearest]
        sizes = members.sum(axis=0)
        there = sizes > 0
        centres[there] = (members.T @ rows)[there] / sizes[there, None]
    return centres


def _distances(rows: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return squared distances of unit vectors (n, dim) to centres (k, dim); (n, k), float64."""
    squares = np.einsum("kd,kd->k", centres, centres)
    distances = np.maximum(1 + squares - 2 * (rows @ centres.T), 0)
    return np.asarray(distances, dtype=np.float64)


def _rows(embeddings: ArrayLike, name: str) -> NDArray[Any]:
    rows = np.asarray(embeddings)
    if rows.ndim != 2:
        raise InvalidEmbeddings.at(
            name, "{field} have shape {value}, expected {limit}", "(n, dim)", str(rows.shape)
        )
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InvalidEmbeddings.not_finite(f"{name}[{int(np.argmin(finite))}]")
    return rows


def _refusal(field: str, limit: str, value: int | str) -> InvalidArgument:
    return InvalidArgument.at(field, "{field} must be {limit}, is {value!r}", limit, value)
