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


def grouped_folds(
    targets: NDArray[np.intp],
    groups: NDArray[np.intp],
    held: NDArray[np.bool_],
    count: int,
    seed: int,
) -> NDArray[np.intp]:
    """Deal groups of examples into folds as `stratified_folds` deals examples.

    A group of several classes is dealt as one of the class that has the fewest groups. Where all
    groups of a class fall into one fold nevertheless, one of them gets a fold of its own. Without
    groups of several examples, this is `stratified_folds`.

    Args:
        targets: class indices of shape (n,).
        groups: the group of each example, of shape (n,).
        held: which examples are held out at all, whole groups each; shape (n,). Each of their
            classes has an example in another group.
        count: number of folds, from 1 to the number of these groups.
        seed: decides the deal.

    Returns:
        The fold of each example, from 0 to `count` - 1 or a little beyond, of shape (n,); -1 for
        those that are never held out.
    """
    folds = np.full(len(targets), -1, dtype=np.intp)
    rows = np.flatnonzero(held)
    several = int(groups.max()) + 1
    pairs = np.unique(targets[rows] * several + groups[rows])
    classes, owners = pairs // several, pairs % several
    rarity = np.bincount(classes)[classes]
    order = np.lexsort((classes, rarity, owners))
    present, first, own = np.unique(owners[order], return_index=True, return_inverse=True)
    dealt = stratified_folds(classes[order][first], count, seed)
    # Classes with an example that is never held out are in every training part anyway.
    known = np.unique(targets[~held])
    for of_class in np.unique(classes):
        mine = own[classes[order] == of_class]
        if of_class not in known and len(np.unique(dealt[mine])) == 1 and count > 1:
            dealt[mine[0]] = dealt.max() + 1
    folds[rows] = dealt[np.searchsorted(present, groups[rows])]
    return folds


def fold_count(n: int, rank: int, classes: int, groups: int | None = None) -> int:
    """Return how many folds an estimate is made with.

    Each fold takes about one example of every class. Leaving out a single one instead makes its
    own class rarer and all others more common, which on small balanced sets costs more accuracy
    than the examples that a fold takes away: such an estimate is too low. There are fewer folds
    where a step of an iterative solver, `n * rank * classes` multiply-adds for each, gets slow.
    Groups of examples take the place of examples where there are any.
    """
    different = n if groups is None else groups
    affordable = int(BUDGET / max(1, n * rank * classes))
    return min(different, max(MIN_FOLDS, min(MAX_FOLDS, different // classes, affordable)))


def comparison_count(n: int, groups: int | None = None) -> int:
    """Return on how many folds strengths and families are compared."""
    different = n if groups is None else groups
    return min(different, SMALL_COMPARISON_FOLDS if n <= SMALL else COMPARISON_FOLDS)
