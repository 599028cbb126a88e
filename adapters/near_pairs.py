"""Pairs of near rows among very many: locality-sensitive hashing.

Rows fall into the same cell of a random projection the more often the nearer they are (Datar et al.
2004, https://doi.org/10.1145/997817.997857). Those that share the cells of several projections are
compared, in several tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.special
from numpy.typing import NDArray

Indices = NDArray[np.intp]
Floats = NDArray[np.float32]
Pairs = tuple[Indices, Indices]

PROJECTIONS = (8, 12, 16)
"""Numbers of projections in a key; more of them need more tables and compare fewer strangers."""

CHEAP = 200
"""Comparisons for each example, up to which fewer projections do."""

WIDTH = 4.0
"""Width of a projection's cells, in thresholds."""

MAX_COMPARISONS = 2e8
"""Pairs that are compared, at most."""

SKETCH, SKETCH_SLACK = 64, 1.8
"""Random projections in which pairs are compared first, and by how much their distance may be above
the threshold there: a pair at the threshold is with a probability of 1e-4 (chi-squared)."""

REACH = 2000
"""Rows with the same key that each is compared with, at most: it bounds what one key takes."""

AT_ONCE = 2**17
"""Pairs that are in memory at once."""


def collision(distance: float) -> float:
    """Return the probability that two rows fall into the same cell of a projection.

    Datar et al. 2004, section 3.2, for the normal distribution.

    Args:
        distance: of the rows, in units of the cell's width; positive.
    """
    width = 1 / distance
    tail = 2 * float(scipy.special.ndtr(-width))
    edge = 2 / (math.sqrt(2 * math.pi) * width) * -math.expm1(-(width**2) / 2)
    return 1 - tail - edge


class Search:
    """Pairs of rows that are likely to be near, by their cells in random projections.

    Attributes:
        missed: probability with which a pair at the threshold was missed; known when all pairs
            were yielded.

    Args:
        rows: of shape (n, dim).
        radii: how near is near for each: half the squared distance; shape (n,).
        missed: the probability that is aimed at.
        seed: of the projections.
    """

    def __init__(self, rows: Floats, radii: Floats, missed: float, seed: int) -> None:
        self._rows, self._aim = rows, missed
        self._random = np.random.default_rng(seed)
        # Nine of ten thresholds are at most as large: where they are larger, more is missed.
        self._width = WIDTH * math.sqrt(2 * max(float(np.quantile(radii, 0.9)), 1e-12))
        normals = self._random.standard_normal((rows.shape[1], SKETCH)).astype(np.float32)
        self._sketches = rows @ normals / np.float32(math.sqrt(2 * SKETCH))
        self._within = np.float32(SKETCH_SLACK) * radii
        self.missed = 1.0

    def pairs(self) -> Iterator[Pairs]:
        """Yield pairs, some more than once; not all of them are near."""
        left = MAX_COMPARISONS
        buckets, projections = self._first()
        hit = collision(1 / WIDTH) ** projections
        tables = math.ceil(math.log(self._aim) / math.log1p(-hit))
        for table in range(tables):
            if table:
                buckets = self._buckets(projections)
            left -= buckets.comparisons
            if table and left < 0:
                return
            for one, other in buckets.pairs():
                yield self._sketched(one, other)
            self.missed *= 1 - hit

    def _sketched(self, one: Indices, other: Indices) -> Pairs:
        """Return those pairs that may be near, by their distance in a few projections."""
        apart = self._sketches[one] - self._sketches[other]
        squares = np.einsum("md,md->m", apart, apart)
        kept = squares <= np.minimum(self._within[one], self._within[other])
        return one[kept], other[kept]

    def _first(self) -> tuple[_Buckets, int]:
        """Return a table, and how many projections its keys have."""
        for projections in PROJECTIONS:
            buckets = self._buckets(projections)
            hit = collision(1 / WIDTH) ** projections
            tables = math.ceil(math.log(self._aim) / math.log1p(-hit))
            if buckets.comparisons * tables <= CHEAP * len(self._rows):
                break
        return buckets, projections

    def _buckets(self, projections: int) -> _Buckets:
        """Deal rows into buckets by new projections."""
        rows = self._rows
        normals = self._random.standard_normal((rows.shape[1], projections)).astype(np.float32)
        shifts = self._random.uniform(0, self._width, projections)
        cells = np.floor((rows @ normals + shifts) / self._width).astype(np.int64)
        mixed = self._random.integers(1, 2**62, projections)
        keys = cells @ (2 * mixed + 1)  # wraps around; few share a key by chance
        return _Buckets(np.unique(keys, return_inverse=True)[1])


class _Buckets:
    """Rows with the same key, which are compared with one another."""

    def __init__(self, keys: Indices) -> None:
        self._order = np.argsort(keys, kind="stable")
        sizes = np.bincount(keys)
        self._sizes, self._ends = sizes, np.cumsum(sizes)
        reached = np.minimum(sizes - 1, REACH)
        self.comparisons = float((reached * (sizes - (reached + 1) / 2)).sum())

    def pairs(self) -> Iterator[Pairs]:
        """Yield pairs of rows with the same key: each row and up to `REACH` that follow it."""
        ends = np.repeat(self._ends, self._sizes)
        places = np.arange(len(self._order))
        gathered: list[Pairs] = []
        for step in range(1, REACH + 1):
            places = places[places + step < ends[places]]
            if not len(places):
                break
            for first in range(0, len(places), AT_ONCE):
                some = places[first : first + AT_ONCE]
                gathered.append((self._order[some], self._order[some + step]))
            if sum(len(one) for one, _ in gathered) >= AT_ONCE:
                yield _concatenated(gathered)
                gathered = []
        yield _concatenated(gathered)


def _concatenated(parts: Sequence[Pairs]) -> Pairs:
    nothing = np.empty(0, dtype=np.intp)
    ones, others = zip((nothing, nothing), *parts, strict=True)
    return np.concatenate(ones), np.concatenate(others)
