"""The inverse of a regularised second moment, under examples that come and go."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROOM = 64
"""Rank-one terms that gather before they are worked into a dense matrix, or get more room."""


class Inverse:
    """P = (X' W X + l2 I)^-1 for features X of shape (n, width) and weights W = diag(w).

    Kept as base - rows' diag(signs) rows. The base is I / l2, which takes no memory, as long as
    there are fewer rows than half the width, else a dense matrix. An example that comes or goes is
    one more row (Sherman and Morrison 1950, Ann. Math. Stat. 21:124): it costs one product with P
    to find and a row to store, and a dense base is rewritten only once in `ROOM` times.
    """

    def __init__(self, width: int, l2: float, base: Array | None, rows: Array) -> None:
        self._width = width
        self._l2 = l2
        self._base = base
        self._rows = rows
        self._signs = np.ones(len(rows))
        self._count = len(rows)

    @classmethod
    def of(cls, features: Array, weights: Array, l2: float) -> Self:
        """Compute it anew; costs n^2 width operations for n < width / 2, else (n + width) width^2.

        Args:
            features: of shape (n, width).
            weights: of shape (n,), positive.
            l2: strength of the penalty, positive.
        """
        count, width = features.shape
        scaled = features * np.sqrt(weights)[:, None]
        if 2 * count <= width:
            # Woodbury: (I / l2) - Z' (I + Z Z' / l2)^-1 Z / l2^2, by a Cholesky decomposition.
            gram = scaled @ scaled.T / l2
            gram[np.diag_indices(count)] += 1
            lower = scipy.linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
            rows = scipy.linalg.solve_triangular(lower, scaled, lower=True, check_finite=False)
            return cls(width, l2, None, rows / l2)
        moment = scaled.T @ scaled
        moment[np.diag_indices(width)] += l2
        factor = scipy.linalg.cho_factor(moment, overwrite_a=True, check_finite=False)
        base = scipy.linalg.cho_solve(factor, np.eye(width), overwrite_b=True, check_finite=False)
        return cls(width, l2, np.ascontiguousarray(base), np.empty((0, width)))

    @property
    def nbytes(self) -> int:
        """Bytes its arrays hold in memory."""
        return (
            self._rows.nbytes
            + self._signs.nbytes
            + (0 if self._base is None else self._base.nbytes)
        )

    def times(self, features: Array) -> Array:
        """Return x P for one x of shape (width,) or the rows of a matrix (n, width)."""
        rows, signs = self._rows[: self._count], self._signs[: self._count]
        product = features / self._l2 if self._base is None else features @ self._base
        product -= ((features @ rows.T) * signs) @ rows
        return product

    def change(self, gain: Array, factor: float) -> None:
        """Subtract `factor * gain gain'`; `gain` is of shape (width,)."""
        if self._count == len(self._rows):
            self._make_room()
        self._rows[self._count] = gain * np.sqrt(abs(factor))
        self._signs[self._count] = np.sign(factor)
        self._count += 1

    def _make_room(self) -> None:
        """Work the rows into a dense base, unless they are few and there is none."""
        if self._base is None and 2 * (self._count + ROOM) <= self._width:
            more = np.empty((ROOM, self._width))
            self._rows = np.concatenate([self._rows, more])
            self._signs = np.concatenate([self._signs, np.empty(ROOM)])
            return
        if self._base is None:
            self._base = np.eye(self._width) / self._l2
        if self._count:
            rows, signs = self._rows[: self._count], self._signs[: self._count]
            self._base -= (rows * signs[:, None]).T @ rows
        self._rows, self._signs = np.empty((ROOM, self._width)), np.empty(ROOM)
        self._count = 0
