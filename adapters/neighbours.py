"""The nearest of many embeddings by cosine: exact, a block at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adapters.novelty import unit


class Nearest:
    """The nearest rows of all blocks that were looked at, of each query.

    A query of zeros, or a row of them, has the cosine 0 with everything.

    Args:
        queries: float32, shape (queries, dim).
        count: how many rows to find for each, above 0.
    """

    def __init__(self, queries: NDArray[np.float32], count: int) -> None:
        self._queries = unit(queries)
        self._count = count
        self._looked_at = 0
        self._rows = np.zeros((len(queries), 0), np.int64)
        self._cosines = np.zeros((len(queries), 0), np.float32)

    def look_at(self, block: NDArray[np.float32], present: NDArray[np.bool_] | None = None) -> None:
        """Takes the next rows, numbered on from those before.

        Args:
            block: float32, shape (n, dim), of length 1 or 0 each (`unit`).
            present: shape (n,): which rows count; None for all.
        """
        cosines = self._queries @ block.T
        rows = np.arange(self._looked_at, self._looked_at + len(block))
        self._looked_at += len(block)
        if present is not None:
            cosines, rows = cosines[:, present], rows[present]
        self._rows = np.hstack([self._rows, np.broadcast_to(rows, cosines.shape)])
        self._cosines = np.hstack([self._cosines, cosines])
        if self._rows.shape[1] > self._count:
            best = np.argpartition(-self._cosines, self._count - 1, axis=1)[:, : self._count]
            self._rows = np.take_along_axis(self._rows, best, axis=1)
            self._cosines = np.take_along_axis(self._cosines, best, axis=1)

    def rows(self) -> set[int]:
        """Returns the numbers of the rows that are nearest to a query so far."""
        return set(self._rows.ravel().tolist())

    def found(self) -> list[list[tuple[int, float]]]:
        """Returns the numbers of the nearest rows of each query with their cosines, nearest first.

        Of rows with the same cosine the first comes first.
        """
        order = np.lexsort((self._rows, -self._cosines), axis=1)
        return [
            [(int(rows[i]), min(1.0, max(-1.0, float(cosines[i])))) for i in places]
            for rows, cosines, places in zip(self._rows, self._cosines, order, strict=True)
        ]
