"""Streams of feedback: who sends it, and how good a head is under it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

import adapters
from benchmarks.learning.data import Embedded, Rows

Labeller = Callable[[str], str]
"""Makes the label a user sends of the right one."""


def accuracy(head: adapters.Head, data: Embedded, rows: Rows, labeller: Labeller = str) -> float:
    """Return the share of rows that a head gives the right label."""
    answers = np.array(head.labels)[head.logits(data.embeddings[rows]).argmax(axis=1)]
    truth = [labeller(label) for label in data.labels[rows].tolist()]
    return float(np.mean(answers == np.array(truth)))


def shifted(labels: Iterable[str]) -> dict[str, str]:
    """Return the next label for each; the first comes after the last."""
    names = sorted(set(labels))
    return dict(zip(names, names[1:] + names[:1], strict=True))


def flipping(labels: NDArray[np.str_], share: float, seed: int) -> Labeller:
    """Return a labeller that errs at random in this share of cases."""
    rng = np.random.default_rng(seed)
    names = sorted(set(labels.tolist()))

    def label(right: str) -> str:
        if rng.random() >= share:
            return right
        return str(rng.choice([name for name in names if name != right]))

    return label


def confusing(labels: NDArray[np.str_], seed: int) -> Labeller:
    """Return a labeller that always takes one class for another."""
    names = sorted(set(labels.tolist()))
    wrong, taken_for = np.random.default_rng(seed).choice(names, size=2, replace=False)
    return lambda right: str(taken_for) if right == wrong else right
