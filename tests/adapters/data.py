"""Small data sets with known answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]


def blobs(
    n: int, dim: int, classes: int, *, seed: int = 0, distance: float = 2.0
) -> tuple[Embeddings, list[str]]:
    """Gaussian classes with one shared, correlated covariance, as evenly filled as can be."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(classes, dim)) * distance / np.sqrt(dim)
    mixing = rng.normal(size=(dim, dim)) / np.sqrt(dim) * np.logspace(0, -1, dim)[:, None]
    targets = np.arange(n) % classes
    noise = rng.normal(size=(n, dim)) @ (mixing + 0.3 * np.eye(dim))
    embeddings = 3.0 + np.logspace(-1, 1, dim) * (means[targets] + noise)
    return embeddings.astype(np.float32), [f"class {target:04d}" for target in targets]
