"""Least squares onto one-hot targets at any strength, and without any of its examples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from adapters.problem import ALL, Problem, Some

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

UNEVEN = 2
"""Times that one fold may be as large as another that it is worked on with."""

BLOCK = 2.5e5
"""Coordinates of left-out rows that are worked on at once: few enough to stay in the cache."""


class LeastSquares:
    """Fits of a problem's centred rows Z to Y with weights W, penalty l2, and a bias or none.

    The solution Q = P Z' W Y, P = (Z' W Z + l2 I)^-1, is diagonal along the principal axes. With
    H = K W, K = Z P Z' (plus 1 / sum of weights if there is a bias), the errors of examples left
    out are (I - H)^-1 of their block times their residuals, exactly (PRESS; Allen 1974,
    Technometrics 16:125; for groups Cook and Weisberg 1982).
    """

    def __init__(self, problem: Problem, *, bias: bool) -> None:
        self._problem = problem
        self._common = 1 / problem.total if bias else 0.0
        self._aims = problem.one_hot - problem.class_totals * self._common
        self.projected: Array = problem.coordinates.T @ (problem.one_hot * problem.weights[:, None])
        """Z' W Y, of shape (rank, classes)."""
        self._latest: tuple[float, Indices, Array] | None = None
        """Arguments and result of the latest call of `errors`."""

    def solution(self, l2: float) -> Array:
        """Return Q of shape (rank, classes)."""
        return self.projected / (self._problem.spectrum[:, None] + l2)

    def residuals(self, strengths: Array, some: Some = ALL) -> Array:
        """Return targets less fitted values, of some of the rows, at k strengths; (k, m, classes).

        Costs 2 m rank classes operations a strength.
        """
        problem = self._problem
        inverse = 1 / (problem.spectrum[:, None] + strengths)
        rotated = inverse[:, :, None] * self.projected[:, None, :]
        columns = len(strengths) * problem.classes
        flat = problem.coordinates[some] @ rotated.reshape(problem.rank, columns)
        fitted = flat.reshape(len(flat), len(strengths), problem.classes).transpose(1, 0, 2)
        return self._aims[some] - fitted

    def slack(self, strengths: Array, some: Some = ALL) -> Array:
        """Return one minus the leverage, of some of the rows, at k strengths; (k, m)."""
        problem = self._problem
        inverse = 1 / (problem.spectrum[:, None] + strengths)
        leverage = (problem.coordinates[some] ** 2 @ inverse).T + self._common
        return np.maximum(1 - problem.weights[some] * leverage, np.finfo(float).eps)

    def errors(self, l2: float, folds: Indices) -> Array:
        """Return what `residuals` are of each row in a fit without its fold; (rows, classes).

        Those of rows whose fold is -1 are what they are in the fit to all.

        The array is read-only, as the next call with the same arguments returns it again.
        """
        if self._latest and self._latest[0] == l2 and self._latest[1] is folds:
            return self._latest[2]
        problem = self._problem
        inverse = 1 / (problem.spectrum + l2)
        errors: Array = self.residuals(np.array([l2]))[0]
        for rows, real in _blocks(folds, problem.rank):
            block = problem.coordinates[rows]
            weights = problem.weights[rows] * real
            similarity = (block * inverse) @ block.transpose(0, 2, 1) + self._common
            slack = np.eye(rows.shape[1]) - similarity * weights[:, None, :]
            errors[rows[real]] = _solved(slack, errors[rows])[real]
        errors.setflags(write=False)
        self._latest = l2, folds, errors
        return errors

    def solutions(self, l2: float, folds: Indices) -> tuple[Array, Array]:
        """Return what `solution` and the bias are without each fold.

        Q loses P Z' W E and the bias the mean of W E, E being `errors` of the fold.

        Returns:
            Arrays of shape (folds, rank, classes) and (folds, classes).
        """
        problem = self._problem
        inverse = 1 / (problem.spectrum[:, None] + l2)
        weighted = self.errors(l2, folds) * problem.weights[:, None]
        parts = [np.flatnonzero(folds == fold) for fold in range(int(folds.max()) + 1)]
        lost = [inverse * (problem.coordinates[rows].T @ weighted[rows]) for rows in parts]
        moved = self._common * np.stack([weighted[rows].sum(axis=0) for rows in parts])
        return self.solution(l2) - np.stack(lost), problem.class_totals * self._common - moved


def _solved(slack: Array, errors: Array) -> Array:
    """Solve for errors without blocks; the shortest solution where blocks hold all that is known.

    That a fit without them is all but undetermined happens at the weakest penalties, with equal
    rows or weights of very different sizes.
    """
    try:
        return np.asarray(np.linalg.solve(slack, errors))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.pinv(slack) @ errors)


def _blocks(folds: Indices, rank: int) -> Iterator[tuple[Indices, NDArray[np.bool_]]]:
    """Yield the rows of some folds at a time, (folds, most), and which are no padding.

    Folds of very different sizes go with their like, smallest first: padding costs its cube.
    """
    order = np.argsort(folds, kind="stable")[np.count_nonzero(folds < 0) :]
    sizes = np.bincount(folds[folds >= 0])
    ends = np.cumsum(sizes)
    last = len(sizes)
    uneven = sizes.max() > UNEVEN * sizes.min()
    if uneven:
        by_size = np.argsort(sizes, kind="stable")
        sizes, ends = sizes[by_size], ends[by_size]
    first = 0
    while first < len(sizes):
        if uneven:
            last = int(np.searchsorted(sizes, UNEVEN * sizes[first], side="right"))
        most = int(sizes[first:last].max())
        at_once = max(1, int(BLOCK / (most * max(1, rank))))
        some = slice(first, min(last, first + at_once))
        positions = (ends[some] - sizes[some])[:, None] + np.arange(most)
        real = positions < ends[some, None]
        yield order[np.minimum(positions, len(order) - 1)], real
        first = some.stop
