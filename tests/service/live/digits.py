"""Handwritten digits as a stream of feedback."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.datasets import load_digits

from adapters import Head, HeadSpec
from benchmarks.learning.following import Following
from service.live.policy import Policy


class Digits:
    """Handwritten digits, shuffled: a few to start with, a stream, and the rest to measure on."""

    def __init__(self, seed: int, start: int) -> None:
        data = load_digits()
        order = np.random.default_rng(seed).permutation(len(data.target))
        self.rows = data.data.astype(np.float32)[order]
        self.labels = [str(target) for target in data.target[order]]
        self.classes = sorted(set(self.labels))
        quota = dict.fromkeys(self.classes, start // len(self.classes))
        self.first: list[int] = []
        self.rest: list[int] = []
        for i, label in enumerate(self.labels):
            (self.first if quota[label] > 0 else self.rest).append(i)
            quota[label] -= 1
        self.test, self.stream = self.rest[:600], self.rest[600:]

    def open(self, policy: Policy = Policy.GATED, family: str = "ridge") -> Following:
        labels = [self.labels[i] for i in self.first]
        return Following(self.rows[self.first], labels, HeadSpec(family=family), policy)

    def accuracy(self, head: Head, labels: Sequence[str] | None = None) -> float:
        """Held-out accuracy, where the truth may be another than it was."""
        best = head.logits(self.rows[self.test]).argmax(axis=1)
        truth = [(labels or self.labels)[i] for i in self.test]
        return float(np.mean([head.labels[j] == t for j, t in zip(best, truth, strict=True)]))
