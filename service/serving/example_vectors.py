"""Vectors of examples in memory, in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 2048
"""Examples in one block: with 256 inputs, cosines of 2 MiB."""

_ROW_BYTES = 400  # of a digest, of where it stands, and of its flag; a generous guess


@dataclass(frozen=True, slots=True)
class Block:
    """Examples that are looked at together.

    Attributes:
        vectors: float32, shape (n, dim), of length 1; zeros in place of one that has left.
        present: shape (n,): whether each is still there.
    """

    digests: tuple[str, ...]
    vectors: NDArray[np.float32]
    present: NDArray[np.bool_]


class ExampleVectors:
    """The vectors of a head's examples by digest.

    Args:
        dim: numbers of a vector.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._blocks: list[Block] = []
        self._places: dict[str, tuple[int, int]] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._places

    @staticmethod
    def size(count: int, dim: int) -> int:
        """Returns the memory that so many examples take, in bytes."""
        return count * (4 * dim + _ROW_BYTES)

    def blocks(self) -> list[Block]:
        """Returns the blocks as they are: what is added later is not in them."""
        return list(self._blocks)

    def add(
        self, digests: Iterable[str], vectors: NDArray[np.float32], left: Set[str] = frozenset()
    ) -> None:
        """Adds examples that are not there, but for those that have `left`.

        Args:
            vectors: float32, shape (n, dim), of length 1.
        """
        names = tuple(digests)
        present = np.array([name not in left for name in names], np.bool_)
        vectors[~present] = 0
        added = Block(names, vectors, present)
        if self._blocks and len(self._blocks[-1].digests) + len(names) <= BLOCK:
            last = self._blocks.pop()
            added = Block(
                last.digests + names,
                np.vstack([last.vectors, vectors]),
                np.concatenate([last.present, present]),
            )
        number = len(self._blocks)
        self._blocks.append(added)
        for row, name in enumerate(added.digests):
            if added.present[row]:
                self._places[name] = (number, row)

    def remove(self, digests: Iterable[str]) -> None:
        """Lets go of the vectors of examples; of those that are not there nothing is to be done."""
        for digest in digests:
            place = self._places.pop(digest, None)
            if place is not None:
                block, row = self._blocks[place[0]], place[1]
                block.present[row] = False
                block.vectors[row] = 0

    def digests(self) -> set[str]:
        """Returns the digests of those that are there."""
        return set(self._places)

    def clear_if_hollow(self) -> None:
        """Lets go of all once more than half of it has left: what is there is to be added anew."""
        if sum(len(block.digests) for block in self._blocks) > 2 * len(self._places):
            self._blocks.clear()
            self._places.clear()
