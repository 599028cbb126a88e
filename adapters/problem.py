"""The linear algebra that all families share: standardise, centre, rotate, once per training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from adapters.examples import Examples

Matrix = NDArray[np.float64]

RANK_TOLERANCE = 1e-11
"""Directions with less than this share of the largest variance are rounding noise."""


@dataclass(frozen=True, eq=False)
class Standardisation:
    """Moves and scales every feature: `(embedding - mean) / scale`.

    `scale = sqrt(variance + mean(variance) / 4)`: features that hardly vary are not blown up to
    the size of the others.
    """

    mean: Matrix
    scale: Matrix

    @classmethod
    def of(cls, embeddings: Matrix) -> Standardisation:
        """Fit to embeddings of shape (n, dim)."""
        variance = embeddings.var(axis=0)
        scale = np.sqrt(variance + variance.mean() / 4)
        return cls(embeddings.mean(axis=0), np.where(scale > 0, scale, 1.0))

    def apply(self, embeddings: Matrix) -> Matrix:
        """Standardise embeddings of shape (n, dim)."""
        standard = embeddings - self.mean
        standard /= self.scale
        return standard

    def fold(self, weight: Matrix, bias: Matrix) -> tuple[Matrix, Matrix]:
        """Rewrite a weight (classes, dim) and bias (classes,) for raw embeddings."""
        raw = weight / self.scale
        return raw, bias - raw @ self.mean


@dataclass(frozen=True, eq=False)
class Problem:
    """Standardised examples in the coordinates of their principal axes.

    One eigendecomposition of the smaller of X X' (n x n) and X' X (dim x dim) gives the thin
    singular value decomposition X = Q sqrt(spectrum) V'. In the coordinates X V a penalty on the
    weights means the same, and there are at most min(n - 1, dim) of them.

    Attributes:
        standard: X, standardised embeddings of shape (n, dim); columns have mean zero.
        targets: class indices of shape (n,).
        classes: number of classes.
        seed: decides how examples are dealt into folds.
        axes: Q, orthonormal columns of shape (n, rank).
        spectrum: variances times n along the axes, of shape (rank,), all positive.
    """

    standard: Matrix
    targets: NDArray[np.intp]
    classes: int
    seed: int
    axes: Matrix
    spectrum: Matrix

    @classmethod
    def of(cls, examples: Examples, front: Standardisation, seed: int) -> Problem:
        """Standardise and decompose; costs min(n, dim)**2 * (max(n, dim) + 9 min(n, dim))."""
        standard = front.apply(examples.embeddings)
        n, dim = standard.shape
        gram = standard @ standard.T if n <= dim else standard.T @ standard
        spectrum, vectors = scipy.linalg.eigh(gram, overwrite_a=True, check_finite=False)
        kept = (spectrum > RANK_TOLERANCE * spectrum[-1]) & (spectrum > 0)
        spectrum, vectors = spectrum[kept], vectors[:, kept]
        axes = vectors if n <= dim else standard @ vectors / np.sqrt(spectrum)
        classes = len(examples.labels)
        return cls(standard, examples.targets, classes, seed, axes, spectrum)

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.targets)

    @property
    def rank(self) -> int:
        """Number of principal axes."""
        return len(self.spectrum)

    @property
    def scale(self) -> float:
        """Mean of the spectrum: the l2 strength at which an average axis is shrunk by half."""
        return float(self.spectrum.mean()) if self.rank else 1.0

    @property
    def one_hot(self) -> Matrix:
        """Targets as rows of the identity; shape (n, classes)."""
        return np.eye(self.classes)[self.targets]

    def weight(self, rotated: Matrix) -> Matrix:
        """Turn weights of shape (rank, classes) back into standardised ones (classes, dim)."""
        dual = self.axes @ (rotated / np.sqrt(self.spectrum)[:, None])
        return dual.T @ self.standard
