"""A head under the policy ``gated`` or ``immediate``, without server and store: decisions alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from adapters import Head, HeadSpec, fit
from service.live.learning import LiveCopy, Policy, Rules
from service.store.live import LiveFeedback, Member

Rows = NDArray[np.float32]


class Stream:
    """A head that was trained on a few examples, and what feedback makes of it."""

    def __init__(self, rows: Rows, labels: Sequence[str], policy: Policy, family: str) -> None:
        spec = HeadSpec(family=family)
        self.active = fit(rows, labels, spec, fingerprint="f" * 64).head
        self.promotions: list[int] = []
        self.drops: list[int] = []
        self.detected: list[int] = []
        self._rules = Rules(policy, error_rate=0.05, drift_delta=0.002)
        self._members = [
            Member(f"m{i}", row, label, 1.0, anchor=True)
            for i, (row, label) in enumerate(zip(rows, labels, strict=True))
        ]
        self._feedback: list[LiveFeedback] = []
        self._changed = False
        self._copy: LiveCopy | None = None
        self._count = 0

    @property
    def live(self) -> Head:
        copy = self._copy or self._build()
        return copy.head or self.active

    @property
    def serving(self) -> Head:
        if self._rules.policy is Policy.IMMEDIATE and self._copy is not None:
            return self._copy.head or self.active
        return self.active

    def send(self, row: Rows, label: str) -> None:
        self._count += 1
        item = LiveFeedback(self._count, f"f{self._count}", row, label, 1.0, None, None)
        copy = self._copy = self._copy or self._build()
        learned = copy.learn([item])
        (score,) = learned.scores
        self._feedback.append(
            replace(item, active_right=score.active_right, live_right=score.live_right)
        )
        if learned.changed_at is not None:
            self.detected.append(self._count)
            self._changed = True
            since = [item for item in self._feedback if item.id >= learned.changed_at]
            self._feedback = [replace(item, live_right=None) for item in since]
            self._copy = self._build()
        elif self._rules.policy is Policy.GATED:
            self._decide(copy)

    def _decide(self, copy: LiveCopy) -> None:
        if copy.gate.worse:
            self.drops.append(self._count)
            self._start()
        elif copy.gate.wants_comparison and copy.head is not None:
            members = [] if self._changed else self._members
            if copy.gate.note(copy.compare(members, self._feedback)):
                self.promotions.append(self._count)
                self.active = copy.head
                new = [
                    Member(item.digest, item.vector, item.label, 1.0, anchor=False)
                    for item in self._feedback
                ]
                self._members = [*members, *new]
                self._start()

    def _start(self) -> None:
        self._feedback, self._changed, self._copy = [], False, None

    def _build(self) -> LiveCopy:
        members = [] if self._changed else self._members
        return LiveCopy(1, self.active, members, self._feedback, self._rules, changed=self._changed)


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

    def open(self, policy: Policy = Policy.GATED, family: str = "ridge") -> Stream:
        labels = [self.labels[i] for i in self.first]
        return Stream(self.rows[self.first], labels, policy, family)

    def accuracy(self, head: Head, labels: Sequence[str] | None = None) -> float:
        """Held-out accuracy, where the truth may be another than it was."""
        best = head.logits(self.rows[self.test]).argmax(axis=1)
        truth = [(labels or self.labels)[i] for i in self.test]
        return float(np.mean([head.labels[j] == t for j, t in zip(best, truth, strict=True)]))
