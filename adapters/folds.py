"""Deals examples into folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_FOLDS = 50
MIN_FOLDS = 10
BUDGET = 2e8

COMPARISON_FOLDS = 5
SMALL_COMPARISON_FOLDS = 10
SMALL = 400
"""Up to so many examples, families are compared on more folds, since each of them costs more."""


def stratified_folds(targets: NDArray[np.intp], count: int, seed: int) -> NDArray[np.intp]:
    """Deal examples into folds so that each fold has its share of every class.

    A class with two members or more has them in two folds at least, so every training part holds
    every class. The deal does not depend on how classes are numbered.

    Args:
        targets: class indices of shape (n,), each class present twice or more.
        count: number of folds, from 2 to n.
        seed: decides the deal.

    Returns:
        The fold of each example, from 0 to `count` - 1, of shape (n,).
    """
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    _, first, inverse = np.unique(targets[shuffled], return_index=True, return_inverse=True)
    by_class = shuffled[np.argsort(first[inverse], kind="stable")]
    folds = np.empty(len(targets), dtype=np.intp)
    folds[by_class] = np.arange(len(targets)) % count
    return folds


def fold_count(n: int, rank: int, classes: int) -> int:
    """Return how many folds an estimate is made with.

    Each fold takes about one example of every class. Leaving out a single one instead makes its
    own class rarer and all others more common, which on small balanced sets costs more accuracy
    than the examples that a fold takes away: such an estimate is too low. There are fewer folds
    where a step of an iterative solver, `n * rank * classes` multiply-adds for each, gets slow.
    """
    affordable = int(BUDGET / max(1, n * rank * classes))
    return min(n, max(MIN_FOLDS, min(MAX_FOLDS, n // classes, affordable)))


def comparison_count(n: int) -> int:
    """Return on how many folds strengths and families are compared."""
    return min(n, SMALL_COMPARISON_FOLDS if n <= SMALL else COMPARISON_FOLDS)
