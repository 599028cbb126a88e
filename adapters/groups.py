"""Groups: examples that are held out together, because they are no independent evidence.

A group is what a caller named so (photos of one scene, parts of one document), together with all
near-copies of its members; near-copies that nobody named are a group of their own, and any other
example is one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from adapters.errors import InvalidExamples
from adapters.near_copies import EVENED_EXACT, NearCopies, Space, joined, members

Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

LARGE = 0.1
"""Share of all examples beyond which a group of near-copies has to be tight to be kept: ten folds
cannot hold larger ones, and a chain of examples that are each near the next is no copy of one."""

LEAST_GROUPS = 2
"""Groups of a class that it takes to hold one out and learn from another."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Which examples belong together.

    Attributes:
        numbers: the group of each example, from 0 to `count` - 1; shape (n,).
        named: groups that a caller named.
        within: examples with a near-copy of the same class.
        across: examples with a near-copy of another class.
        parted: examples of chains of near-copies that were too large to be kept together.
        missed: probability with which a pair of near-copies was missed; 0 if all were compared.
    """

    numbers: Indices
    named: int = 0
    within: int = 0
    across: int = 0
    parted: int = 0
    missed: float = 0.0

    @classmethod
    def alone(cls, n: int) -> Self:
        """Return n examples that have nothing to do with one another."""
        return cls(np.arange(n))

    @classmethod
    def find(
        cls,
        embeddings: NDArray[Any],
        targets: Indices,
        names: Sequence[str | None] | None = None,
        seed: int = 0,
    ) -> Self:
        """Group examples by names and as near-copies.

        Args:
            embeddings: of shape (n, dim).
            targets: class indices of shape (n,).
            names: of each example's group; None for those without one, or at all.
            seed: of the search among very many examples.

        Raises:
            InvalidExamples: if there is not one name for each example.
        """
        space, evened = Space(embeddings, targets, seed), None
        if len(targets) <= EVENED_EXACT:
            evened = Space(embeddings, targets, seed, even=True)
        return cls.of(NearCopies.of(space, seed, evened), space, targets, names)

    @classmethod
    def of(
        cls,
        copies: NearCopies,
        space: Space,
        targets: Indices,
        names: Sequence[str | None] | None = None,
    ) -> Self:
        """Group examples by names and by near-copies that were found; see `find`."""
        own = np.arange(len(targets)) if names is None else numbers_of(names)
        if len(own) != len(targets):
            raise InvalidExamples.at(
                "groups", "there are {value} groups for {limit} examples", len(targets), len(own)
            )
        named = len({name for name in names or () if name is not None})
        numbers, parted = _together(copies.components, own, space)
        within, across = _shared(copies.components, targets)
        return cls(numbers, named, within, across, parted, copies.missed)

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.numbers.max()) + 1 if len(self.numbers) else 0


def effective_count(groups: Indices) -> float:
    """Return how many independent examples those of some groups are worth.

    `(sum of sizes)**2 / sum of sizes**2`: the examples over the design effect of Kish (1965, Survey
    Sampling, section 5.4) for groups whose members are right or wrong together. As many as there
    are groups if these are of one size, fewer if not, and the examples themselves without groups.

    Args:
        groups: the number of each example's group, of shape (n,), n at least 1.
    """
    sizes = np.unique(groups, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def numbers_of(names: Sequence[str | None]) -> Indices:
    """Return a number for each example, the same for those whose group has one name."""
    first: dict[str, int] = {}
    return np.array(
        [row if name is None else first.setdefault(name, row) for row, name in enumerate(names)],
        dtype=np.intp,
    )


def joint_rows(groups: Indices | None) -> list[Indices]:
    """Return the examples of each group that has several."""
    if groups is None:
        return []
    return [rows for rows in members(np.unique(groups, return_inverse=True)[1]) if len(rows) > 1]


def groups_by_class(targets: Indices, groups: Indices, classes: int) -> Indices:
    """Return in how many groups each class has examples; shape (classes,)."""
    several = int(groups.max(initial=0)) + 1
    pairs = np.unique(targets * several + groups)
    return np.bincount(pairs // several, minlength=classes)


def held_out(targets: Indices, groups: Indices, classes: int) -> Mask:
    """Return which examples can be held out; shape (n,).

    A class with all of its examples in one group would be unknown without it: such groups stay in
    every training part, whatever else is in them.
    """
    short = groups_by_class(targets, groups, classes) < LEAST_GROUPS
    kept = np.unique(groups[short[targets]])
    held: Mask = ~np.isin(groups, kept)
    return held


def _together(copies: Indices, own: Indices, space: Space) -> tuple[Indices, int]:
    """Join near-copies with named groups, but for chains that are too large to be held out.

    Of those, only equal embeddings stay together.

    Returns:
        The group of each example, and how many examples were parted.
    """
    n = len(own)
    parted = np.zeros(n, dtype=bool)
    for rows in members(copies):
        if len(rows) > max(2, LARGE * n) and not _tight(rows, space):
            parted[rows] = True
    first = np.unique(copies, return_index=True)[1][copies]
    rows = np.arange(n)
    pairs = [(rows, own), (rows, space.equal), (rows[~parted], first[~parted])]
    return joined(n, iter(pairs)), int(parted.sum())


def _tight(rows: Indices, space: Space) -> bool:
    """Return whether all of some examples are near their middle, and so copies of one thing."""
    points = space.rows[rows]
    apart = ((points - points.mean(axis=0)) ** 2).sum(axis=1) / 2
    return bool((apart <= space.radii[rows].max()).all())


def _shared(copies: Indices, targets: Indices) -> tuple[int, int]:
    """Return how many examples have near-copies of their own class, and of another one."""
    sizes = np.bincount(copies)[copies]
    _, inverse, counts = np.unique(
        copies * (int(targets.max()) + 1) + targets, return_inverse=True, return_counts=True
    )
    same = counts[inverse]
    return int((same > 1).sum()), int((sizes > same).sum())
