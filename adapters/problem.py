"""What all families share: centring, rotation and folds, once per training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from adapters.folds import comparison_count, fold_count, stratified_folds

Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]
T = TypeVar("T")

RANK_TOLERANCE = 1e-11
"""Directions with less than this share of the largest variance are rounding noise."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What a family is fitted to: weighted rows of features, each of them part of an example.

    Without augmentation every row is an example of its own. Otherwise an example's views share its
    `group`, and leave together with it whenever something is held out. A row of weight zero takes
    part in no fit; it is there to be judged.

    Attributes:
        features: float64 of shape (rows, width), as `Front.features` returns them.
        targets: class indices of shape (rows,).
        weights: float64 of shape (rows,), none negative.
        groups: the example each row belongs to, of shape (rows,), from 0 to n - 1.
        judged: the row by which each example is judged, of shape (n,).
        classes: number of classes.
        seed: decides how examples are dealt into folds.
    """

    features: Matrix
    targets: Indices
    weights: Matrix
    groups: Indices
    judged: Indices
    classes: int
    seed: int

    @classmethod
    def of(
        cls,
        features: Matrix,
        targets: Indices,
        classes: int,
        seed: int,
        weights: Matrix | None = None,
    ) -> Self:
        """Make a problem whose rows are examples of their own; weights are 1 if None."""
        rows = np.arange(len(targets))
        given = np.ones(len(targets)) if weights is None else weights
        return cls(features, targets, given, rows, rows, classes, seed)

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.judged)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.targets)

    @property
    def rank(self) -> int:
        """Number of principal axes."""
        return len(self.spectrum)

    @property
    def spectrum(self) -> Matrix:
        """Weighted sums of squares along the axes, all positive; shape (rank,)."""
        return self._rotation.spectrum

    @property
    def coordinates(self) -> Matrix:
        """Centred rows along the principal axes; shape (rows, rank)."""
        return self._rotation.coordinates

    @cached_property
    def scale(self) -> float:
        """Mean of the spectrum: the l2 strength at which an average axis is shrunk by half."""
        return float(self.spectrum.mean()) if self.rank else 1.0

    @cached_property
    def total(self) -> float:
        """Sum of the weights."""
        return float(self.weights.sum())

    @cached_property
    def class_totals(self) -> Matrix:
        """Sum of the weights of each class; shape (classes,)."""
        return np.bincount(self.targets, self.weights, self.classes).astype(np.float64)

    @cached_property
    def mean(self) -> Matrix:
        """Weighted mean of the features; shape (width,)."""
        mean: Matrix = self.weights @ self.features / self.total
        return mean

    @cached_property
    def one_hot(self) -> Matrix:
        """Targets as rows of the identity; shape (rows, classes)."""
        return np.eye(self.classes)[self.targets]

    @property
    def judged_targets(self) -> Indices:
        """Class of each example; shape (n,)."""
        return self.targets[self.judged]

    @cached_property
    def comparison(self) -> Indices:
        """Folds on which strengths and families are compared, for each row; shape (rows,)."""
        return self.deal(comparison_count(self.n))

    @cached_property
    def folds(self) -> Indices:
        """Folds that the estimate is made with, for each row; shape (rows,)."""
        return self.deal(fold_count(self.n, min(self.n, self.features.shape[1]), self.classes))

    def deal(self, count: int) -> Indices:
        """Deal examples into folds, each with all of its rows; shape (rows,)."""
        return stratified_folds(self.judged_targets, count, self.seed)[self.groups]

    def lift(self, rotated: Matrix) -> Matrix:
        """Turn vectors along the axes, (rank, k), into vectors of features, (k, width)."""
        return self._rotation.lift(rotated)

    def lower(self, vectors: Matrix) -> Matrix:
        """Project vectors of features, (k, width), onto the axes; (rank, k)."""
        return self._rotation.lower(vectors)

    def shared(self, make: Callable[[Self], T]) -> T:
        """Return what `make` makes of this problem, made once for all who ask."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    @cached_property
    def _made(self) -> dict[Callable[[Self], Any], Any]:
        return {}

    @cached_property
    def _rotation(self) -> _Rotation:
        return _Rotation.of(self.features - self.mean, self.weights)


@dataclass(frozen=True, eq=False)
class _Rotation:
    """Principal axes of weighted rows.

    One eigendecomposition of the smaller of X X' (rows x rows) and X' X (width x width) gives the
    thin singular value decomposition X = Q sqrt(spectrum) V', where X are the centred rows times
    the roots of their weights. In the coordinates X V a penalty on the weights means the same, and
    there are at most min(rows - 1, width) of them.
    """

    coordinates: Matrix
    spectrum: Matrix
    left: Matrix | None
    """Q / sqrt(spectrum) where rows are fewer than features, else None."""
    right: Matrix
    """X where rows are fewer than features, else V."""

    @classmethod
    def of(cls, centred: Matrix, weights: Matrix) -> Self:
        """Decompose; costs min(rows, width)**2 * (max(rows, width) + 9 min(rows, width))."""
        roots = np.sqrt(weights)
        scaled = centred if (weights == 1).all() else centred * roots[:, None]
        if not weights.all():
            scaled = scaled[weights > 0]
        rows, width = scaled.shape
        gram = scaled @ scaled.T if rows <= width else scaled.T @ scaled
        spectrum, vectors = scipy.linalg.eigh(
            gram, overwrite_a=True, check_finite=False, driver="evd"
        )
        kept = int(np.count_nonzero((spectrum > RANK_TOLERANCE * spectrum[-1]) & (spectrum > 0)))
        spectrum, vectors = spectrum[len(spectrum) - kept :], vectors[:, len(spectrum) - kept :]
        if rows > width:
            return cls(centred @ vectors, spectrum, None, vectors)
        left = vectors / np.sqrt(spectrum)
        if rows < len(weights):
            return cls(centred @ (scaled.T @ left), spectrum, left, scaled)
        coordinates = vectors * np.sqrt(spectrum)
        coordinates /= roots[:, None]
        return cls(coordinates, spectrum, left, scaled)

    def lift(self, rotated: Matrix) -> Matrix:
        """See `Problem.lift`."""
        lifted: Matrix
        if self.left is None:
            lifted = (self.right @ rotated).T
        else:
            lifted = (self.left @ rotated).T @ self.right
        return lifted

    def lower(self, vectors: Matrix) -> Matrix:
        """See `Problem.lower`."""
        lowered: Matrix
        if self.left is None:
            lowered = self.right.T @ vectors.T
        else:
            lowered = self.left.T @ (self.right @ vectors.T)
        return lowered
