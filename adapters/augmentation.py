"""More rows made of each example: as examples of their own, or averaged into one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adapters.examples import Examples, Views
from adapters.fronts import Front
from adapters.problem import Problem
from adapters.spec import Augmentation

NONE, AS_EXAMPLES, AVERAGE = "none", "examples", "average"
"""What may be done with views."""


def noisy_copies(examples: Examples, spec: Augmentation, seed: int) -> Views:
    """Return `spec.views` copies of each example with Gaussian noise.

    The noise of each feature has `spec.noise` times the feature's own standard deviation.
    """
    rows = np.repeat(np.arange(len(examples.targets)), spec.views)
    noise = np.random.default_rng(seed).standard_normal((len(rows), examples.embeddings.shape[1]))
    noise *= spec.noise * examples.embeddings.std(axis=0)
    return Views(examples.embeddings[rows] + noise, rows)


def arrange(
    used: str,
    examples: Examples,
    weights: NDArray[np.float64],
    views: Views | None,
    front: Front,
    seed: int,
) -> Problem:
    """Make a problem of examples and their views.

    Whatever is done with views, an example weighs the same, is held out with all of its views and
    those of its group, and is scored by itself.

    Args:
        used: one of `NONE`, `AS_EXAMPLES` and `AVERAGE`.
        examples: the examples, n of them.
        weights: what each counts, class weights included; shape (n,).
        views: rows name examples by their place among `examples`; None for `NONE` only.
        front: turns embeddings into features.
        seed: decides how examples are dealt into folds.
    """
    features, targets = front.features(examples.embeddings), examples.targets
    classes = len(examples.labels)
    if used == NONE or views is None:
        return Problem.of(features, targets, classes, seed, weights, examples.groups)
    n = len(targets)
    shares = 1 / (1 + np.bincount(views.rows, minlength=n))
    originals = np.arange(n)
    if used == AS_EXAMPLES:
        owners = np.concatenate([originals, views.rows])
        more = front.features(views.embeddings)
        row_weights = (weights * shares)[owners]
    else:
        owners = np.concatenate([originals, originals])
        sums = examples.embeddings.astype(np.float64)
        np.add.at(sums, views.rows, views.embeddings)
        more = front.features(sums * shares[:, None])
        row_weights = np.concatenate([np.zeros(n), weights])
    rows = np.concatenate([features, more])
    groups = examples.groups[owners]
    targets = targets[owners]
    return Problem(rows, targets, row_weights, owners, groups, originals, classes, seed)
