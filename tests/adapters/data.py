"""Small data sets with known answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adapters.augmentation import AS_EXAMPLES, NONE, arrange, noisy_copies
from adapters.examples import Examples
from adapters.fronts import Front
from adapters.problem import Problem
from adapters.spec import Augmentation

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


def noisy(
    n: int, dim: int, classes: int, *, distance: float, seed: int = 0
) -> tuple[Embeddings, list[str]]:
    """Gaussian classes that overlap: means `distance` standard deviations from the middle.

    Variances fall along the axes, all features are mixtures of them, and classes differ most
    where the variance is large.
    """
    rng = np.random.default_rng(seed)
    spread = np.logspace(0.5, -1, dim)
    directions = rng.normal(size=(classes, dim)) * spread**2
    means = distance * directions / np.linalg.norm(directions / spread, axis=1, keepdims=True)
    targets = np.arange(n) % classes
    latent = means[targets] + rng.normal(size=(n, dim)) * spread
    mixing = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return (latent @ mixing).astype(np.float32), [f"class {target}" for target in targets]


def problem_of(
    shape: tuple[int, int, int], *, weighted: bool = False, views: int = 0, distance: float = 2.0
) -> Problem:
    """The problem that `blobs` of that shape pose behind a plain standardisation.

    With `weighted`, examples count 1, 2 or 3 in turn; each example has so many noisy views, which
    are rows of their own.
    """
    embeddings, labels = blobs(*shape, distance=distance)
    weights = 1.0 + np.arange(len(labels)) % 3 if weighted else np.ones(len(labels))
    examples = Examples.of(embeddings, labels, weights)
    front = Front.of("standardise", examples.embeddings, examples.weights)
    noisy = noisy_copies(examples, Augmentation(views, noise=0.3), seed=1) if views else None
    used = AS_EXAMPLES if views else NONE
    return arrange(used, examples, examples.weights, noisy, front, seed=0)
