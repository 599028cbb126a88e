"""A head under feedback without server and store: for measuring what feedback does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import adapters
from service.config import ServerSettings
from service.live.live_copy import LiveCopy
from service.live.policy import Policy, Rules
from service.live.promotion_gate import Decision
from service.store.live_set import LiveFeedback, Member


class Following:
    """A head that was trained on a few examples, and what feedback makes of it.

    It learns and decides with the parts that the server uses, and keeps in memory what the store
    keeps for that: the active version's examples, and the feedback behind the live copy.

    Args:
        embeddings: float32 of shape (n, dim).
        labels: n of them.
        spec: of the first version.
        policy: gated or immediate.

    Attributes:
        active: the version that stands.
        sent: how much feedback has come.
        promotions, drops, changes: after how much of it the live copy took over, had to go, or a
            change in the stream was detected.
    """

    _copy: LiveCopy

    def __init__(
        self,
        embeddings: NDArray[np.float32],
        labels: Sequence[str],
        spec: adapters.HeadSpec,
        policy: Policy,
    ) -> None:
        settings = ServerSettings.model_fields
        self._rules = Rules(
            policy, settings["live_error_rate"].default, settings["drift_delta"].default
        )
        self._spec = spec
        self.active = adapters.fit(embeddings, labels, spec, fingerprint="f" * 64).head
        self.sent = 0
        self.promotions: list[int] = []
        self.drops: list[int] = []
        self.changes: list[int] = []
        self._members = [
            Member(f"m{i}", vector, label, 1.0, anchor=True)
            for i, (vector, label) in enumerate(zip(embeddings, labels, strict=True))
        ]
        self._begin()

    @property
    def serving(self) -> adapters.Head:
        """The head that answers predictions."""
        return self.live if self._copy.serving else self.active

    @property
    def live(self) -> adapters.Head:
        """The live copy's head; the active version while that has none."""
        return self._copy.head or self.active

    @property
    def proven(self) -> bool:
        """Whether the feedback alone shows that the live copy is better than the version."""
        gate = self._copy.gate
        return gate.evidence_better * gate.error_rate >= 1

    @property
    def behind(self) -> list[int]:
        """Numbers of the feedback that the live copy has learned, the first that came being 1."""
        return [item.id for item in self._feedback]

    def send(self, embedding: NDArray[np.float32], label: str) -> None:
        """Take in feedback on a new input: predict, score, learn, decide."""
        self.sent += 1
        item = LiveFeedback(self.sent, f"f{self.sent}", embedding, label, 1.0, None, None)
        learned = self._copy.learn([item])
        (score,) = learned.scores
        self._feedback.append(
            replace(item, active_right=score.active_right, live_right=score.live_right)
        )
        if learned.changed_at is not None:
            self._begin_anew(learned.changed_at)
            return
        if self._copy.stale:
            self._copy = self._made(self._copy)
        if self._copy.decision is Decision.DROP:
            self.drops.append(self.sent)
            self._begin()
        elif self._copy.decision is Decision.COMPARE and self._copy.passes(
            self._standing_on, self._feedback
        ):
            self._take_over()

    @property
    def _standing_on(self) -> list[Member]:
        return [] if self._changed else self._members

    def _begin(self) -> None:
        """Start a live copy of the active version, without feedback."""
        self._feedback: list[LiveFeedback] = []
        self._changed = False
        self._copy = self._made()

    def _begin_anew(self, changed_at: int) -> None:
        """Start a live copy of the feedback since a change; earlier scores are not its own."""
        self.changes.append(self.sent)
        self._changed = True
        since = [item for item in self._feedback if item.id >= changed_at]
        self._feedback = [replace(item, live_right=None) for item in since]
        self._copy = self._made()

    def _take_over(self) -> None:
        assert self._copy.head is not None
        self.promotions.append(self.sent)
        self.active = self._copy.head
        self._members = [
            *self._standing_on,
            *(
                Member(item.digest, item.vector, item.label, item.weight, anchor=False)
                for item in self._feedback
            ),
        ]
        self._begin()

    def _made(self, before: LiveCopy | None = None) -> LiveCopy:
        return LiveCopy(
            1 + len(self.promotions),
            self.active,
            self._standing_on,
            self._feedback,
            self._rules,
            changed=self._changed,
            spec=self._spec,
            before=before,
        )
