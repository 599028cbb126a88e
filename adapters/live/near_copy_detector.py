"""Recognises embeddings that are nearly the same as earlier ones, as they come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adapters.diagnostics import NEAR_DUPLICATE
from adapters.novelty import unit

BLOCK = 2048
"""Embeddings that are let go at a time; each is compared with so many before it at least, if there
were as many, and with twice as many at most."""

TILE = 256
"""Embeddings that are compared at once."""

_STEPS = 2048.0
"""Unit vectors are rounded to multiples of one over it. Their products are then whole numbers whose
sums stay below 2**24, and so exact in float32, in whatever order they are added: what is near is
the same whether embeddings come one by one or all at once. It moves a cosine by some 2e-4."""


class NearCopyDetector:
    """The embeddings that came so far, to recognise near-copies among those to come.

    A near-copy has a cosine of at least `NEAR_DUPLICATE` with an earlier one. Comparing costs
    2 n dim operations for each embedding, with n of at most 2 * `BLOCK` kept.
    """

    def __init__(self, dim: int) -> None:
        self._rows = np.empty((0, dim), dtype=np.float32)
        self._count = 0

    @property
    def nbytes(self) -> int:
        """Bytes its arrays hold in memory."""
        return self._rows.nbytes

    def add(self, embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Take in embeddings (n, dim), in order; returns which are near-copies, shape (n,)."""
        steps = np.rint(unit(embeddings) * np.float32(_STEPS))
        found, done = np.zeros(len(steps), dtype=np.bool_), 0
        while done < len(steps):
            self._make_room()
            room = len(self._rows) - self._count
            new = steps[done : done + min(TILE, room)]
            earlier = new @ self._rows[: self._count].T >= NEAR_DUPLICATE * _STEPS**2
            among = np.tril(new @ new.T, -1) >= NEAR_DUPLICATE * _STEPS**2
            found[done : done + len(new)] = earlier.any(axis=1) | among.any(axis=1)
            self._rows[self._count : self._count + len(new)] = new
            self._count += len(new)
            done += len(new)
        return found

    def _make_room(self) -> None:
        """Let the older half go where there are as many as are kept, else grow where it is full."""
        if self._count == 2 * BLOCK:
            self._rows[:BLOCK] = self._rows[BLOCK:]
            self._count = BLOCK
        elif self._count == len(self._rows):
            size = min(2 * BLOCK, max(16, 2 * len(self._rows)))
            rows = np.empty((size, self._rows.shape[1]), dtype=np.float32)
            rows[: self._count] = self._rows[: self._count]
            self._rows = rows
