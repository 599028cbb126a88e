"""A sample of a stream of labelled inputs, drawn while they pass."""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Set
from typing import Generic, NamedTuple, TypeVar

FLOOR = 10
"""Examples of a class that are not given up while another class has more."""

T = TypeVar("T")


class Drawn(NamedTuple, Generic[T]):
    """An example that was drawn.

    Attributes:
        lot: decides what is dropped, the lowest first.
        row: its index in the stream.
        item: the input.
        nbytes: its size.
    """

    lot: float
    row: int
    item: T
    nbytes: int


class Sample(Generic[T]):
    """Keeps at most so many examples and bytes, of every class the same share.

    The same stream and seed give the same sample.
    """

    def __init__(self, max_examples: int, max_bytes: int, seed: int) -> None:
        self._max_examples = max_examples
        self._max_bytes = max_bytes
        self._random = random.Random(seed)
        self._seen: Counter[str] = Counter()
        self._kept: defaultdict[str, list[Drawn[T]]] = defaultdict(list)
        self._fullest: list[tuple[bool, float, str]] = []
        self._count = self._bytes = 0

    @property
    def seen(self) -> int:
        """Examples that have passed."""
        return self._seen.total()

    @property
    def labels(self) -> Set[str]:
        """Labels that have passed."""
        return self._seen.keys()

    def add(self, row: int, label: str, item: T, nbytes: int) -> None:
        """Adds an example, perhaps in exchange for others."""
        self._seen[label] += 1
        # No two rows are equal, so that items are never compared.
        drawn = Drawn(self._random.random(), row, item, nbytes)
        heapq.heappush(self._kept[label], drawn)
        self._count += 1
        self._bytes += nbytes
        heapq.heappush(self._fullest, self._fill(label))
        while self._count > self._max_examples or self._bytes > self._max_bytes:
            self._give_up_one()

    def rows(self) -> list[tuple[int, str, T]]:
        """Returns the sample in the order of the stream: row, label and input."""
        kept = ((label, drawn) for label, heap in self._kept.items() for drawn in heap)
        return sorted(
            ((drawn.row, label, drawn.item) for label, drawn in kept), key=lambda found: found[0]
        )

    def _give_up_one(self) -> None:
        while True:
            fill = heapq.heappop(self._fullest)
            label = fill[-1]
            if self._kept[label] and fill == self._fill(label):  # else it was long ago
                break
        dropped = heapq.heappop(self._kept[label])
        self._count -= 1
        self._bytes -= dropped.nbytes
        heapq.heappush(self._fullest, self._fill(label))

    def _fill(self, label: str) -> tuple[bool, float, str]:
        """Orders classes: those above the floor first, then those that kept the largest share."""
        kept = len(self._kept[label])
        return kept <= FLOOR, -kept / self._seen[label], label
