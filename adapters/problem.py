"""What all families share: centring, rotation and folds, once per training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from adapters.folds import comparison_count, fold_count, grouped_folds, stratified_folds
from adapters.groups import held_out

Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]
Some = Indices | slice
"""Some of the rows or examples, or all of them."""

ALL = slice(None)
T = TypeVar("T")

MAX_VALIDATION_LOGITS = 10**6
"""Logits by which strengths are compared, at most, of each."""

RANK_TOLERANCE = 1e-15
"""Directions with less than this share of the largest variance are rounding noise.

What is left out changes the weights by about the root of it, so more would show in float32. Noise
that is let in does no harm: a penalty is far above it.
"""


@dataclass(frozen=True, eq=False)
class Problem:
    """What a family is fitted to: weighted rows of features, each of them part of an example.

    Without augmentation every row is an example of its own; otherwise its views are rows, too. The
    rows of a `group` are held out together: an example with its views, or several examples that
    are no independent evidence. A row of weight zero takes part in no fit; it is there to be
    scored.

    Attributes:
        features: float64 of shape (rows, width), as `Front.features` returns them.
        targets: class indices of shape (rows,).
        weights: float64 of shape (rows,), none negative.
        owners: the example each row belongs to, of shape (rows,), from 0 to n - 1.
        groups: the group each row belongs to, of shape (rows,), numbered from 0 on.
        originals: the row that is each example itself, not a view of it; shape (n,).
        classes: number of classes.
        seed: decides how examples are dealt into folds.
    """

    features: Matrix
    targets: Indices
    weights: Matrix
    owners: Indices
    groups: Indices
    originals: Indices
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
        groups: Indices | None = None,
    ) -> Self:
        """Make a problem whose rows are examples; weights are 1, and groups their own, if None."""
        rows = np.arange(len(targets))
        given = np.ones(len(targets)) if weights is None else weights
        own = rows if groups is None else groups
        return cls(features, targets, given, rows, own, rows, classes, seed)

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.originals)

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
        return self._axes[1]

    @property
    def coordinates(self) -> Matrix:
        """Centred rows along the principal axes; shape (rows, rank)."""
        return self._axes[0]

    @cached_property
    def scale(self) -> float:
        """Mean of the spectrum: the l2 strength at which an average axis is shrunk by half.

        Taken over as many axes as there may be, because rounding decides how many of them are more
        than noise.
        """
        most = min(max(1, int(np.count_nonzero(self.weights)) - 1), self.features.shape[1])
        return float(self.spectrum.sum()) / most if self.rank else 1.0

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
    def example_targets(self) -> Indices:
        """Class of each example; shape (n,)."""
        return self.targets[self.originals]

    @property
    def example_groups(self) -> Indices:
        """Group of each example; shape (n,)."""
        return self.groups[self.originals]

    @cached_property
    def held(self) -> NDArray[np.bool_]:
        """Which examples are held out by turns; the others are part of every fit. Shape (n,).

        All, if less than two classes would be known: then it serves no estimate.
        """
        targets = self.example_targets
        held = held_out(targets, self.example_groups, self.classes)
        return held if len(np.unique(targets[held])) > 1 else np.ones(self.n, dtype=bool)

    @cached_property
    def scored(self) -> Some:
        """Examples that are held out by turns: all, or some."""
        return ALL if self.held.all() else np.flatnonzero(self.held)

    @cached_property
    def group_count(self) -> int:
        """Number of groups that are held out by turns."""
        return len(np.unique(self.example_groups[self.scored]))

    @cached_property
    def blocks(self) -> Indices:
        """A fold for each group, -1 where it is not held out; for each row, of shape (rows,)."""
        own = np.full(self.n, -1, dtype=np.intp)
        own[self.held] = np.unique(self.example_groups[self.held], return_inverse=True)[1]
        return own[self.owners]

    @cached_property
    def joint_blocks(self) -> Indices | None:
        """As `blocks`, but of groups of several rows only; None if there are none.

        What a fit without a group of a single row says has a closed form of its own.
        """
        sizes = np.bincount(self.blocks + 1)[self.blocks + 1]
        joint = (sizes > 1) & (self.blocks >= 0)
        if not joint.any():
            return None
        numbers = np.unique(self.blocks[joint], return_inverse=True)[1]
        found = np.full(self.rows, -1, dtype=np.intp)
        found[joint] = numbers
        return found

    @cached_property
    def comparison(self) -> Indices:
        """Folds on which strengths and families are compared, for each row; shape (rows,)."""
        return self.deal(comparison_count(self.n, self.group_count))

    @cached_property
    def folds(self) -> Indices:
        """Folds that the estimate is made with, for each row; shape (rows,)."""
        rank = min(self.n, self.features.shape[1])
        return self.deal(fold_count(self.n, rank, self.classes, self.group_count))

    def deal(self, count: int) -> Indices:
        """Deal groups into folds, each with all of its rows; shape (rows,). See `grouped_folds`."""
        targets, groups = self.example_targets, self.example_groups
        return grouped_folds(targets, groups, self.held, count, self.seed)[self.owners]

    @cached_property
    def validation_sample(self) -> Some:
        """Examples by which closed forms compare strengths: all, or a stratified sample of them.

        They have at most `MAX_VALIDATION_LOGITS` logits: on more, choosing would cost more than it
        brings. None of them is one that is never held out.
        """
        parts = math.ceil(self.n * self.classes / MAX_VALIDATION_LOGITS)
        if parts == 1:
            return self.scored
        rows = np.flatnonzero(self.held)
        sample: Indices = rows[stratified_folds(self.example_targets[rows], parts, self.seed) == 0]
        return sample

    def lift(self, rotated: Matrix) -> Matrix:
        """Turn vectors along the axes, (rank, k), into vectors of features, (k, width)."""
        if self._axes[2] is not None:
            return (self._axes[2] @ rotated).T
        dual = self.coordinates @ (rotated / self.spectrum[:, None])
        dual *= self.weights[:, None]
        lifted: Matrix = dual.T @ self.features
        lifted -= np.outer(dual.sum(axis=0), self.mean)
        return lifted

    def lower(self, vectors: Matrix) -> Matrix:
        """Project vectors of features, (k, width), onto the axes; (rank, k)."""
        if self._axes[2] is not None:
            return self._axes[2].T @ vectors.T
        products = self.features @ vectors.T - self.mean @ vectors.T
        products *= self.weights[:, None]
        lowered: Matrix = self.coordinates.T @ products / self.spectrum[:, None]
        return lowered

    def shared(self, make: Callable[[Self], T]) -> T:
        """Return `make(self)`, computed once for all callers."""
        if make not in self._computed:
            self._computed[make] = make(self)
        made: T = self._computed[make]
        return made

    @cached_property
    def _computed(self) -> dict[Callable[[Self], Any], Any]:
        return {}

    @property
    def _noise(self) -> float:
        """What rounding leaves of the spectrum where all features are alike."""
        return RANK_TOLERANCE * self.total * float(self.mean @ self.mean)

    @cached_property
    def _axes(self) -> tuple[Matrix, Matrix, Matrix | None]:
        """Coordinates and spectrum along the principal axes, and these where they were computed.

        Let X be the centred rows times the roots of their weights. One eigendecomposition of the
        smaller of X X' (rows x rows) and X' X (width x width) gives the thin singular value
        decomposition X = Q sqrt(spectrum) V'. In the coordinates X V a penalty on the weights
        means the same, and there are at most min(rows, width) of them. V, (width, rank), comes of
        X' X only; otherwise V = X' Q / sqrt(spectrum) is never written out. Costs
        min(rows, width)**2 * (max(rows, width) + 9 min(rows, width)).
        """
        trained = self.weights > 0
        features = self.features if trained.all() else self.features[trained]
        if len(features) <= features.shape[1]:
            coordinates, spectrum = self._wide(features, self.weights[trained])
            if not trained.all():
                weighted = coordinates * (self.weights[trained, None] / spectrum)
                axes = features.T @ weighted
                coordinates = self.features @ axes - self.mean @ axes
            return coordinates, spectrum, None
        scaled = features if (self.weights == 1).all() else features * _roots(self.weights[trained])
        gram = scaled.T @ scaled
        gram -= np.outer(self.total * self.mean, self.mean)
        spectrum, axes = _decompose(gram, self._noise)
        coordinates = self.features @ axes
        coordinates -= self.mean @ axes
        return coordinates, spectrum, axes

    def _wide(self, features: Matrix, weights: Matrix) -> tuple[Matrix, Matrix]:
        """Return coordinates and spectrum of rows fewer than features.

        Their products are centred in place of the rows, and all is done in place: at this size
        new memory costs as much as arithmetic.
        """
        gram = features @ features.T
        across = features @ self.mean - self.mean @ self.mean / 2
        gram -= across
        gram -= across[:, None]
        weighted = bool((weights != 1).any())
        if weighted:
            gram *= _roots(weights)
            gram *= _roots(weights).T
        spectrum, coordinates = _decompose(gram, self._noise)
        coordinates *= np.sqrt(spectrum)
        if weighted:
            coordinates /= _roots(weights)
        return coordinates, spectrum


def _roots(weights: Matrix) -> Matrix:
    roots: Matrix = np.sqrt(weights)[:, None]
    return roots


def _decompose(gram: Matrix, noise: float) -> tuple[Matrix, Matrix]:
    """Return the eigenvalues of a matrix above some noise, and their vectors; overwrites it."""
    spectrum, vectors = scipy.linalg.eigh(gram, overwrite_a=True, check_finite=False, driver="evd")
    kept = (spectrum > RANK_TOLERANCE * spectrum[-1]) & (spectrum > noise)
    first = len(spectrum) - int(np.count_nonzero(kept))
    return spectrum[first:], vectors[:, first:]
