"""Near-duplicates among inputs that are at hand themselves, not as embeddings alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.advice.direct_features import Raw
from adapters.diagnostics import MAX_LISTED, NEAR_DUPLICATE
from adapters.groups import Groups
from adapters.near_copies import NearCopies, Space, all_pairs, joined
from adapters.near_pairs import Pairs
from adapters.report import NearDuplicates

Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class DuplicateGroups:
    """Which examples are nearly the same.

    Attributes:
        groups: which examples are held out together.
        pairs: at most `MAX_LISTED`; those with two labels first, then the nearest.
        count: pairs in all.
        contradicting: pairs in all whose labels differ.
    """

    groups: Groups
    pairs: tuple[NearDuplicates, ...]
    count: int
    contradicting: int


def find_near_duplicates(
    spaces: Sequence[NDArray[Any]],
    raw: Raw,
    targets: Indices,
    labels: Sequence[str],
    names: Sequence[str | None] | None = None,
    seed: int = 0,
) -> DuplicateGroups:
    """Find pairs that are nearly the same to every backbone, and in themselves.

    To a backbone they are near-copies (`adapters.near_copies`), or have a cosine of
    `NEAR_DUPLICATE` at least. To be near in embeddings alone is not enough here: a backbone may be
    blind to what tells examples apart. A near-duplicate of a near-duplicate counts as one, so that
    groups are the connected components. Costs n**2 (dim + width) operations in float32, and memory
    for `TILE`**2 cosines.

    Args:
        spaces: embeddings of shape (n, dim) by each backbone, one at least.
        raw: the same inputs without a backbone.
        targets: class indices of shape (n,).
        labels: one per class.
        names: of each example's group; None for those without one, or at all.
        seed: of samples of very many examples.

    Raises:
        InvalidExamples: if there is not one name for each example.
    """
    found = _Pairs([Space(rows, targets, seed) for rows in spaces], targets)
    near = all_pairs(found.spaces, raw.alike, NEAR_DUPLICATE)
    components = joined(len(targets), found.keep(near))
    pairs = tuple(
        NearDuplicates(
            row=one,
            label=labels[targets[one]],
            other_row=other,
            other_label=labels[targets[other]],
            similarity=min(1.0, max(-1.0, -negative)),
        )
        for _, negative, one, other in found.listed
    )
    groups = Groups.of(NearCopies(components), found.spaces[0], targets, names)
    return DuplicateGroups(groups, pairs, found.count, found.contradicting)


class _Pairs:
    """Counts pairs as they pass by, and keeps the first of them."""

    def __init__(self, spaces: Sequence[Space], targets: Indices) -> None:
        self.spaces, self._targets = spaces, targets
        self.count = self.contradicting = 0
        self.listed: list[tuple[bool, float, int, int]] = []

    def keep(self, pairs: Iterator[Pairs]) -> Iterator[Pairs]:
        """Pass pairs on."""
        for one, other in pairs:
            differ = self._targets[one] != self._targets[other]
            self.count += len(one)
            self.contradicting += int(differ.sum())
            similarity = np.min([1 - space.apart(one, other) for space in self.spaces], axis=0)
            first = np.lexsort((-similarity, ~differ))[:MAX_LISTED]
            rows = (array[first].tolist() for array in (~differ, -similarity, one, other))
            self.listed = sorted([*self.listed, *zip(*rows, strict=True)])[:MAX_LISTED]
            yield one, other
