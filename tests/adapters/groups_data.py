"""Examples with near-copies, and with known answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]


def photos(
    count: int, *, classes: int = 2, dim: int = 64, seed: int = 0, distance: float = 0.0
) -> tuple[Embeddings, list[str]]:
    """Embeddings of different photos; without a distance their labels are drawn by lot."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.arange(count) % classes)
    means = rng.normal(size=(classes, dim)) * distance / np.sqrt(dim)
    rows = 1.0 + means[targets] + rng.normal(size=(count, dim))
    return rows.astype(np.float32), [f"class {target}" for target in targets]


def saved_again(
    embeddings: Embeddings, labels: list[str], copies: int, *, seed: int = 1, noise: float = 0.05
) -> tuple[Embeddings, list[str], list[str]]:
    """Each photo so many times with a little noise, their labels, and names of the photos."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(embeddings, copies, axis=0)
    rows = rows + noise * rng.normal(size=rows.shape).astype(np.float32)
    names = [f"photo {photo}" for photo in range(len(labels)) for _ in range(copies)]
    return rows.astype(np.float32), [label for label in labels for _ in range(copies)], names
