"""Streams of feedback, and a head under them as the server would keep it, without the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import adapters
from benchmarks.learning.data import Embedded, Rows
from service.config import ServerSettings
from service.live.learning import LiveCopy, Policy, Rules
from service.store.live import LiveFeedback, Member

Labeller = Callable[[str], str]
"""Makes the label a user sends of the right one."""


class Stream:
    """A head and its live copy under a stream of feedback.

    Decides as `service.live.copies` does: a live copy that is better by the sequential test and
    passes on the stored examples takes over, one that is worse is dropped with its feedback, and a
    change in the stream makes it anew of what came since.

    Args:
        data: where embeddings and right labels are.
        rows: examples of the first version.
        policy: gated or immediate.

    Attributes:
        active: the version that stands.
        promotions, drops: how often the live copy took over, or had to go.
        changes: after how many feedbacks of the stream a change was detected.
    """

    def __init__(self, data: Embedded, rows: Rows, seed: int, policy: Policy) -> None:
        embeddings, labels = data.take(rows)
        spec = adapters.HeadSpec(seed=seed)
        settings = ServerSettings.model_fields
        self._rules = Rules(
            policy, settings["live_error_rate"].default, settings["drift_delta"].default
        )
        self._data = data
        self._sent = 0
        self._members = [
            Member(str(row), vector, label, 1.0, anchor=True)
            for row, vector, label in zip(rows, embeddings, labels, strict=True)
        ]
        self.active = adapters.fit(embeddings, labels, spec, fingerprint="benchmark").head
        self.promotions = self.drops = 0
        self.changes: list[int] = []
        self._begin()

    @property
    def serving(self) -> adapters.Head:
        """What answers predictions."""
        live = self._copy.head
        return live if live is not None and self._rules.policy is Policy.IMMEDIATE else self.active

    @property
    def live(self) -> adapters.Head | None:
        """The live copy's head."""
        return self._copy.head

    @property
    def since_change(self) -> Rows:
        """Rows of the feedback that the live copy stands on."""
        return np.array([int(item.digest) for item in self._feedback], dtype=np.intp)

    def send(self, row: int, label: str) -> None:
        """Take in one feedback: predict, score, learn, decide."""
        self._sent += 1
        vector = self._data.embeddings[row]
        item = LiveFeedback(self._sent, str(row), vector, label, 1.0, None, None)
        self._feedback.append(item)
        self._learn([item])

    def _begin(self) -> None:
        """Start a live copy of the active version, without feedback."""
        self._feedback: list[LiveFeedback] = []
        self._changed = False
        self._copy = self._made([])

    def _made(self, feedback: Sequence[LiveFeedback]) -> LiveCopy:
        members = [] if self._changed else self._members
        return LiveCopy(1, self.active, members, feedback, self._rules, changed=self._changed)

    def _learn(self, items: Sequence[LiveFeedback]) -> None:
        learned = self._copy.learn(items)
        scores = {score.id: score for score in learned.scores}
        self._feedback = [
            replace(item, active_right=score.active_right, live_right=score.live_right)
            if (score := scores.get(item.id))
            else item
            for item in self._feedback
        ]
        if learned.changed_at is not None:
            self._restart(learned.changed_at)
        elif self._rules.policy is Policy.GATED:
            self._decide()

    def _restart(self, changed_at: int) -> None:
        """Make the copy anew of the feedback since a change; it was not its answers that count."""
        self.changes.append(self._sent)
        self._changed = True
        self._feedback = [
            replace(item, live_right=None) for item in self._feedback if item.id >= changed_at
        ]
        self._copy = self._made(self._feedback)

    def _decide(self) -> None:
        gate = self._copy.gate
        if gate.worse:
            self.drops += 1
            self._begin()
        elif (
            gate.wants_comparison
            and self._copy.head is not None
            and gate.note(self._copy.compare(self._members, self._feedback))
        ):
            self._take_over(self._copy.head)

    def _take_over(self, head: adapters.Head) -> None:
        self.promotions += 1
        known = {} if self._changed else {member.digest: member for member in self._members}
        for item in self._feedback:
            known[item.digest] = Member(item.digest, item.vector, item.label, item.weight, False)
        self._members = list(known.values())
        self.active = head
        self._begin()


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
    """Return who errs at random in so many cases."""
    rng = np.random.default_rng(seed)
    names = sorted(set(labels.tolist()))

    def label(right: str) -> str:
        if rng.random() >= share:
            return right
        return str(rng.choice([name for name in names if name != right]))

    return label


def confusing(labels: NDArray[np.str_], seed: int) -> Labeller:
    """Return who always takes one class for another."""
    names = sorted(set(labels.tolist()))
    wrong, taken_for = np.random.default_rng(seed).choice(names, size=2, replace=False)
    return lambda right: str(taken_for) if right == wrong else right
