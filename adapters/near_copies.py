"""Near-copies: embeddings that lie nearer to one another than chance would bring them.

No one cosine tells copies from strangers. Two photos of one fabric have a cosine of 0.994, and a
photo of a varied scene one of 0.95 with itself, saved again as JPEG. So the threshold is each
example's own: a near-copy is at most `NEAREST` of the distance (one minus the cosine) to the k-th
nearest other example of the class, for k of `RANKS`, so that up to as many copies of one thing do
not hide one another. In few dimensions less counts: there chance brings examples near, too.

Few directions in which all examples differ may hide the many in which copies do not, and families
of heads, which even them out, see what is missed so. So examples are compared a second time with
their variances evened (`Space`, `EVENED_EXACT`), where chance is allowed less.

With n points spread evenly in D dimensions, the nearest one is within the share s of the squared
distance to the k-th nearest with a probability of about (k - 1) s**(D / 2) (distances of a Poisson
process; Levina and Bickel 2004, NIPS 17:777). `CHANCE` bounds it. D is the number of directions in
which examples vary within their classes, the exponential of the entropy of the variances along
them (Roy and Vetterli 2007, EUSIPCO 15:606): unlike estimates from neighbours, copies hardly move
it. `tests/adapters/test_near_copies.py` says what that finds, and how often it is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from adapters.near_pairs import Floats, Indices, Pairs, Search
from adapters.novelty import unit

Mask = NDArray[np.bool_]

NEAREST = 0.18
"""Of the distance to the k-th nearest, up to the eighth. Of 2,000 photos of textiles no two lie
nearer, of 1,797 digits none; those saved again at JPEG quality 75 to 95 do."""

NEAREST_EVENED = 0.4
"""The same where variances are evened: strangers are more alike in how far apart they are there."""

FLAT, CURVED = 160, 4
"""Examples up to which as many dimensions as directions are expected where variances are evened;
among more, a surface shows that may be curved, with a dimension for so many directions."""

EVENED = 64
"""Directions that are evened: of more, the variance in the sample says little of other examples."""

FLOOR = 0.1
"""Of the usual variance of a direction: below, directions are not stretched to the usual one."""

EVENED_EXACT = 1500
"""Examples up to which pairs are compared with variances evened, too."""

USUAL_DIRECTIONS = 8
"""Directions in which the neighbourhood of an example extends, at the least that is usual: the
distance to the k-th nearest grows with k**(2 / 8), and what is near to that one shrinks."""

CHANCE = 1e-3
"""Probability with which an example's nearest may be called its copy by chance, roughly."""

CHANCE_EVENED = 4e-5
"""The same where variances are evened, in addition."""

RANKS = (4, 8, 16, 32)
"""Neighbours that distances are compared with. One is used in classes of more than twice as many
examples; in smaller classes the median distance within classes takes the place of them all."""

MEDIAN_RANK = 256
"""The rank that this median stands for: it is farther away than any neighbour of `RANKS`."""

ROUNDING = 1e-6
"""Of the mean squared length: what float32 may make of a distance of zero. Classes whose examples
lie nearer than that have no near-copies but equal embeddings."""

EXACT = 8000
"""Examples up to which all pairs are compared."""

SAMPLE = 2000
"""Examples, of more than `EXACT`, that neighbours are looked for among."""

SPREAD_SAMPLE = 256
"""Examples that the number of directions is taken from."""

TILE = 1024
"""Rows and columns of the matrix of distances that are in memory at once."""

MISSED = 0.01
"""Probability, of a pair at the threshold, to be missed among more than `EXACT` examples."""


class Space:
    """Embeddings by one backbone, and how near is near for each of them.

    Args:
        embeddings: of shape (n, dim).
        targets: class indices of shape (n,).
        seed: of the samples that are taken of many examples.
        even: whether variances within classes are evened, see `_evened`. "Distance" then means half
            the squared distance of what they become.
    """

    def __init__(
        self, embeddings: NDArray[Any], targets: Indices, seed: int = 0, *, even: bool = False
    ) -> None:
        rows = unit(embeddings)
        self.equal: Indices = _first_equal(embeddings)
        """The first row with the same embedding, of each; shape (n,)."""
        # Around their mean, where products of float32 keep their precision.
        self.rows: Floats = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._nearest = NEAREST_EVENED if even else NEAREST
        self._chance = CHANCE_EVENED if even else CHANCE
        self._curved = CURVED if even and len(rows) > FLAT else 1
        if even:
            self.rows = self._evened(targets, seed)
        self.squares: Floats = np.einsum("nd,nd->n", self.rows, self.rows)
        self.radii: Floats = self._radii(targets, seed)

    def distances(self, some: Any, others: Any) -> Floats:
        """Return one minus the cosine of some rows and others; (some, others)."""
        halves = self.squares[some][:, None] + self.squares[others]
        distances: Floats = halves / 2 - self.rows[some] @ self.rows[others].T
        return distances

    def near(self, some: slice, others: slice, cosine: float | None = None) -> Mask:
        """Return which of some rows are near-copies of which others; (some, others).

        Args:
            some: which rows.
            others: which others.
            cosine: from which on pairs are called so whatever else lies near; None for none.
        """
        radii = np.minimum(self.radii[some][:, None], self.radii[others])
        if cosine is not None:
            radii = np.maximum(radii, np.float32(1 - cosine))
        near: Mask = self.distances(some, others) <= radii
        return near

    def apart(self, one: Indices, other: Indices) -> Floats:
        """Return one minus the cosine of each pair of rows; all of shape (m,)."""
        products = np.einsum("md,md->m", self.rows[one], self.rows[other])
        distances: Floats = (self.squares[one] + self.squares[other]) / 2 - products
        return distances

    def which_near(self, one: Indices, other: Indices) -> Pairs:
        """Return those pairs of rows, of shape (m,) each, that are near-copies."""
        near = self.apart(one, other) <= np.minimum(self.radii[one], self.radii[other])
        return one[near], other[near]

    def _radii(self, targets: Indices, seed: int) -> Floats:
        """Return the distance up to which another example is a near-copy; (n,)."""
        n = len(targets)
        drawn = np.random.default_rng(seed).permutation(n)
        directions = self._directions(targets, drawn[:SPREAD_SAMPLE])
        sample = np.arange(n) if n <= EXACT else np.sort(drawn[:SAMPLE])
        least = ROUNDING * float(self.squares.mean())
        radii, usual = np.zeros(n), []
        ranked, blurred = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        for rows in members(targets):
            known = sample[targets[sample] == targets[rows[0]]]
            ranks = [rank for rank in RANKS if 2 * rank < len(known)]
            ranked[rows] = bool(ranks)
            share = len(known) / len(rows)
            for first in range(0, len(rows), TILE):
                some = rows[first : first + TILE]
                distances = self.distances(some, known)
                distances[some[:, None] == known] = np.inf
                median = float(np.median(distances)) if len(known) > 1 else np.inf
                usual += [median] * (len(some) if np.isfinite(median) else 0)
                blurred[some] = median <= least
                if ranks:
                    found = np.partition(distances, [rank - 1 for rank in ranks], axis=1)
                for rank in ranks:
                    nearness = self._share(rank / share, directions)
                    radii[some] = np.maximum(radii[some], nearness * found[:, rank - 1])
        if usual:
            radii[~ranked] = self._share(MEDIAN_RANK, directions) * float(np.median(usual))
        return np.where(blurred, -1, np.maximum(radii, least)).astype(np.float32)

    def _share(self, rank: float, directions: float) -> float:
        """Return the share of the distance to a neighbour within which an example is near."""
        most = self._nearest * math.pow(min(1.0, RANKS[1] / rank), 2 / USUAL_DIRECTIONS)
        rare = self._chance / max(rank - 1, 1.0)
        return min(most, math.pow(rare, 2 * self._curved / directions))

    def _directions(self, targets: Indices, drawn: Indices) -> float:
        """Return in how many directions rows vary within their classes."""
        within = self._within(targets, drawn)
        gram = within @ within.T if len(within) <= within.shape[1] else within.T @ within
        return _count(scipy.linalg.eigvalsh(gram))

    def _within(self, targets: Indices, drawn: Indices) -> NDArray[np.float64]:
        """Return how some rows differ from the means of their classes."""
        rows = self.rows[drawn].astype(np.float64)
        for some in members(targets):
            rows[targets[drawn] == targets[some[0]]] -= self.rows[some].mean(axis=0)
        return rows

    def _evened(self, targets: Indices, seed: int) -> Floats:
        """Return rows divided by their standard deviation within classes, along main directions.

        Few directions in which all examples differ else hide the many in which copies do not, and
        families of heads, which even them out, would see copies that are missed here. To each
        variance `FLOOR` of the usual one is added: a covariance that is shrunk to a multiple of
        the identity (Ledoit and Wolf 2004, J. Multivariate Analysis 88:365).
        """
        drawn = np.random.default_rng(seed).permutation(len(targets))[:SPREAD_SAMPLE]
        _, scales, axes = scipy.linalg.svd(self._within(targets, drawn), full_matrices=False)
        variances, axes = scales[:EVENED] ** 2, axes[:EVENED].astype(np.float32)
        usual = float((scales**2).sum()) / _count(scales**2)
        if not usual:
            return self.rows
        shares = FLOOR * usual / (variances + FLOOR * usual)
        shrunk = (self.rows @ axes.T) * (np.sqrt(shares) - 1).astype(np.float32)
        return np.asarray(self.rows + shrunk @ axes, dtype=np.float32)


def _count(variances: NDArray[np.float64]) -> float:
    """Return along how many directions something varies: all, if it varies alike along them."""
    variances = variances[variances > ROUNDING * max(variances.max(initial=0.0), 0.0)]
    if not len(variances):
        return 1.0
    shares = variances / variances.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@dataclass(frozen=True, eq=False)
class NearCopies:
    """Which examples are near-copies, of one another or of others between them.

    Attributes:
        components: the same number, from 0 on, for near-copies; shape (n,).
        missed: probability with which a pair at the threshold was missed; 0 if all were compared.
    """

    components: Indices
    missed: float = 0.0

    @classmethod
    def of(cls, space: Space, seed: int, evened: Space | None = None) -> Self:
        """Find them: among up to `EXACT` examples by comparing all pairs.

        Among more, pairs are compared that fall into the same cells of several random projections,
        in several tables (Datar et al. 2004, https://doi.org/10.1145/997817.997857). There are as
        many tables as it takes to miss a pair at the threshold with a probability of `MISSED`;
        where examples lie so dense that `MAX_COMPARISONS` do not suffice, there are fewer, and
        `missed` says so. Costs n**2 dim operations, or `MAX_COMPARISONS` dim.

        Args:
            space: the examples.
            seed: of the search among many.
            evened: the same examples with variances evened, of at most `EXACT`: what is near there
                is a copy, too.
        """
        n = len(space.rows)
        equal = np.arange(n), space.equal
        if n <= EXACT:
            more = () if evened is None else all_pairs([evened])
            return cls(joined(n, chain([equal], all_pairs([space]), more)))
        search = Search(space.rows, space.radii, MISSED, seed)
        near = (space.which_near(*pairs) for pairs in search.pairs())
        return cls(joined(n, chain([equal], near)), search.missed)


def all_pairs(
    spaces: Sequence[Space],
    alike: Callable[[slice, slice], Mask] | None = None,
    cosine: float | None = None,
) -> Iterator[Pairs]:
    """Yield the pairs that are near-copies in every space, a tile at a time.

    Args:
        spaces: one at least, of the same examples.
        alike: returns which of some examples may be copies of which others; None for all.
        cosine: see `Space.near`.
    """
    n = len(spaces[0].rows)
    starts = range(0, n, TILE)
    for top, left in ((top, left) for top in starts for left in starts if left >= top):
        down, across = slice(top, top + TILE), slice(left, left + TILE)
        near = spaces[0].near(down, across, cosine)
        for space in spaces[1:]:
            near &= space.near(down, across, cosine)
        if top == left:
            near = np.triu(near, 1)
        if not near.any():
            continue
        if alike is not None:
            near &= alike(down, across)
        one, other = np.nonzero(near)
        yield one + top, other + left


def _first_equal(embeddings: NDArray[Any]) -> Indices:
    """Return the first row that equals each; where all are equal, they say nothing of copies."""
    rows = np.ascontiguousarray(embeddings)
    content = rows.view(f"V{rows.itemsize * rows.shape[1]}").ravel()
    _, first, own = np.unique(content, return_index=True, return_inverse=True)
    return np.arange(len(rows)) if len(first) == 1 else first[own]


def joined(n: int, pairs: Iterator[Pairs]) -> Indices:
    """Return the connected components of n examples and pairs of them; shape (n,)."""
    components = np.arange(n)
    for one, other in pairs:
        if not len(one):
            continue
        ends = components[one], components[other]
        links = coo_array((np.ones(len(one), dtype=bool), ends), shape=(n, n))
        components = connected_components(links, directed=False)[1][components]
    named: Indices = np.unique(components, return_inverse=True)[1]
    return named


def members(numbers: Indices) -> list[Indices]:
    """Return the examples of each number that occurs, in its order."""
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers))
    return [part for part in np.split(order, ends[:-1]) if len(part)]
