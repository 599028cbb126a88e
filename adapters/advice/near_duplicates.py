"""Near-duplicates, and folds that keep them together, so that none is scored by its own copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from adapters.advice.direct_features import Raw
from adapters.diagnostics import MAX_LISTED, NEAR_DUPLICATE, TILE
from adapters.folds import stratified_folds
from adapters.novelty import unit
from adapters.report import NearDuplicates

Indices = NDArray[np.intp]

FOLDS = 10
"""On which options are evaluated, if there are enough examples."""

LEAST_GROUPS = 2
"""Groups of a class, so that one is left to learn from when another is held out."""


@dataclass(frozen=True, eq=False)
class DuplicateGroups:
    """Which examples are nearly the same.

    Attributes:
        groups: a number of shape (n,) for each example, the same for near-duplicates.
        pairs: at most `MAX_LISTED`; those with two labels first, then the nearest.
        count: pairs in all.
        contradicting: pairs in all whose labels differ.
        split: examples with near-duplicates that could not be kept together.
    """

    groups: Indices
    pairs: tuple[NearDuplicates, ...]
    count: int
    contradicting: int
    split: int = 0


def find_near_duplicates(
    spaces: Sequence[NDArray[Any]], raw: Raw, targets: Indices, labels: Sequence[str]
) -> DuplicateGroups:
    """Find pairs that are nearly the same to every backbone, and in themselves.

    To be near in embeddings alone is not enough: a backbone may be blind to what tells examples
    apart. A near-duplicate of a near-duplicate counts as one, so that groups are the connected
    components. Costs n**2 (dim + width) operations in float32, and memory for `TILE`**2 cosines.

    Args:
        spaces: embeddings of shape (n, dim) by each backbone, one at least.
        raw: the same inputs without a backbone.
        targets: class indices of shape (n,).
        labels: one per class.
    """
    units = [unit(space) for space in spaces]
    n = len(targets)
    groups = np.arange(n)
    found: list[tuple[bool, float, int, int]] = []
    count = contradicting = 0
    starts = range(0, n, TILE)
    for top, left in ((top, left) for top in starts for left in starts if left >= top):
        down, across = slice(top, top + TILE), slice(left, left + TILE)
        cosines = np.min([rows[down] @ rows[across].T for rows in units], axis=0)
        near = cosines >= NEAR_DUPLICATE
        if top == left:
            near = np.triu(near, 1)
        if near.any():
            near &= raw.alike(down, across)
        one, other = np.nonzero(near)
        similarity = cosines[one, other]
        one, other = one + top, other + left
        groups = _joined(groups, one, other)
        differ = targets[one] != targets[other]
        count, contradicting = count + len(one), contradicting + int(differ.sum())
        first = np.lexsort((-similarity, ~differ))[:MAX_LISTED]
        rows = (array[first].tolist() for array in (~differ, -similarity, one, other))
        found = sorted([*found, *zip(*rows, strict=True)])[:MAX_LISTED]
    pairs = tuple(
        NearDuplicates(
            row=one,
            label=labels[targets[one]],
            other_row=other,
            other_label=labels[targets[other]],
            similarity=min(1.0, -negative),
        )
        for _, negative, one, other in found
    )
    return DuplicateGroups(groups, pairs, count, contradicting)


def split_groups(
    duplicates: DuplicateGroups, targets: Indices, folds: int = FOLDS
) -> DuplicateGroups:
    """Split those groups that cannot be kept together, because a fold could not hold them.

    These are groups of more than one example in `folds`, and those with members of a class that
    has fewer than two groups to itself: without it, no training part would know the class.
    """
    groups, everyone = duplicates.groups, np.arange(len(targets))
    sizes = np.bincount(groups, minlength=len(groups))[groups]
    # A group is named by one of its members, so that no other has an example's own number.
    own = np.where(sizes * folds > len(groups), everyone, groups)
    _, leaders = np.unique(own, return_index=True)
    led = np.bincount(targets[leaders], minlength=int(targets.max()) + 1)
    short = np.isin(own, own[led[targets] < LEAST_GROUPS])
    own = np.where(short, everyone, own)
    alone = (sizes > 1) & (np.bincount(own, minlength=len(own))[own] == 1)
    return replace(duplicates, groups=own, split=int(alone.sum()))


def deal(targets: Indices, groups: Indices, count: int, seed: int) -> Indices:
    """Deal examples into folds, groups undivided; each fold has its share of every class.

    Args:
        targets: class indices of shape (n,).
        groups: as `split_groups` leaves them, of shape (n,).
        count: number of folds.
        seed: decides the deal.

    Returns:
        The fold of each example, of shape (n,).
    """
    _, leaders, own = np.unique(groups, return_index=True, return_inverse=True)
    return stratified_folds(targets[leaders], count, seed)[own]


def _joined(groups: Indices, one: Indices, other: Indices) -> Indices:
    """Join the groups of each pair; a group is named by its first member."""
    if not len(one):
        return groups
    n = len(groups)
    links = coo_array((np.ones(len(one), bool), (groups[one], groups[other])), shape=(n, n))
    _, component = connected_components(links, directed=False)
    named: Indices = np.full(n, n)
    np.minimum.at(named, component, np.arange(n))
    joined: Indices = named[component][groups]
    return joined
