"""A live copy: predict, score, learn, in that order, for each feedback in the order of arrival.

Nothing in here waits, stores or knows a clock: the same members and feedback make the same copy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adapters import Head, HeadSpec
from adapters.drift import MAX_WINDOW, DriftDetector
from adapters.live import REFRESH_UPDATES, Change, NearCopyDetector
from adapters.novelty import MAX_KEPT_PER_CLASS, unit
from service.live.comparison import (
    Comparison,
    Example,
    choose,
    compare,
    groups_by_digest,
    held_out,
    left_out,
    left_out_anchors,
    right_about,
    train,
)
from service.live.policy import Policy, Rules
from service.live.promotion_gate import Decision, PromotionGate
from service.live.replay import replay
from service.store.live_outcomes import Score
from service.store.live_set import LiveFeedback, Member

COALESCING = frozenset({"logistic"})
"""Families without an exact update: they learn what has gathered in one go."""

KNOWN_BYTES = 300
"""Size of one example, beside what the head keeps of it; a generous guess."""


@dataclass(frozen=True, slots=True)
class Learned:
    """The result of learning some feedback.

    Attributes:
        scores: scores of what was learned, in order. What came after a change was detected, or
            after the copy had become `stale`, is not learned: the copy is to be made anew.
        changed_at: id of the first feedback after a change in the stream, or None.
    """

    scores: list[Score]
    changed_at: int | None


class LiveCopy:
    """A copy of the active version that learns from feedback, and how both fared on it.

    Args:
        version: number of the active version.
        active: its head.
        members: examples to build on beside the feedback; none after a change in the stream.
        feedback: all of it, oldest first. What was learned before is learned again, and its
            scores are taken as they are; the rest is for `learn`.
        spec: that the version was trained with, by which front and strength (and family, if it is
            "auto") are chosen again as examples come; None where they stay.
        before: a copy of the version that this one takes the place of; how the version fares
            without each member is taken from it, if the members are the same.

    Attributes:
        through: id of the last feedback it has learned, 0 for none.
        gate: whether it may take over.
        basis: what gave it family, front and strength: the version, or the last choice.
        chosen_on: how many examples that was chosen on; 0 for the version.

    Raises:
        adapters.InvalidArgument: no copy can move on from this version.
    """

    def __init__(
        self,
        version: int,
        active: Head,
        members: Sequence[Member],
        feedback: Sequence[LiveFeedback],
        rules: Rules,
        *,
        changed: bool,
        spec: HeadSpec | None = None,
        before: LiveCopy | None = None,
    ) -> None:
        learned = [item for item in feedback if item.learned]
        self.version = version
        self.active = active
        self.changed = changed
        self.rules = rules
        self._spec = spec
        self.through = 0
        self.gate = PromotionGate(rules.error_rate)
        self.drift = DriftDetector(rules.drift_delta)
        self._observed: deque[int] = deque(maxlen=MAX_WINDOW)
        self._taught: dict[str, deque[NDArray[np.float32]]] = {}
        history = replay(members, learned)
        self._due = history.due if spec is not None else None
        self.basis, self.chosen_on = active, 0
        if spec is not None and history.chosen_on:
            self.basis = choose(active, spec, history.chosen_on)
            self.chosen_on = len(history.chosen_on)
        self._known = {item.digest: (item.label, item.weight) for item in history.examples}
        self._live = train(self.basis, history.examples)
        self._members = {item.digest: (item.label, item.weight) for item in members}
        same = before is not None and (version, self._members) == (before.version, before._members)
        self._baseline: dict[str, float] | None = None
        if before is not None and same:
            self._baseline = before._baseline
        self._seen = NearCopyDetector(active.dim)
        self.feedback_count = 0
        for item, near in zip(learned, self._near_copies(learned), strict=True):
            assert item.active_right is not None
            self._keep(item)
            self._observe(item.id, item.active_right, item.live_right, near=near)

    @property
    def head(self) -> Head | None:
        """The head as it is now, which will not change; None below two classes."""
        return self._live.head if self._live.ready else None

    @property
    def scoring_head(self) -> Head | None:
        """The head that is to score: what feedback has taught is not novel to it.

        The novelty bank has the version's embeddings, as many as the threshold needs, and up to 64
        of the last taught embeddings a class. More of them can only bring distances down, so that
        an ordinary input is called novel no more often than it was.
        """
        head = self.head
        if head is None or head.novelty is None:
            return head
        rows = [vector for kept in self._taught.values() for vector in kept if vector.any()]
        if not rows:
            return head
        bank = np.concatenate([head.novelty.bank, unit(np.stack(rows)).astype(np.float16)])
        return replace(head, novelty=replace(head.novelty, bank=bank))

    @property
    def decision(self) -> Decision:
        """Whether to keep, drop or compare it; the gate decides only under the policy `gated`."""
        decision = self.gate.decision if self.rules.policy is Policy.GATED else Decision.KEEP
        unfit = decision is Decision.COMPARE and not self._live.ready
        return Decision.KEEP if unfit else decision

    @property
    def coalesces(self) -> bool:
        """Whether it learns all that has gathered in one go, however much that is."""
        return self.basis.family in COALESCING

    @property
    def serving(self) -> bool:
        """Whether it, and not the active version, scores predictions."""
        return self.rules.policy is Policy.IMMEDIATE

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels it has examples of, sorted."""
        return self._live.labels

    @property
    def known(self) -> dict[str, str]:
        """Labels by digest of the examples it is built on."""
        return {digest: label for digest, (label, _) in self._known.items()}

    @property
    def example_count(self) -> int:
        """How many examples it is built on."""
        return len(self._known)

    @property
    def stale(self) -> bool:
        """Whether it is to be made anew, for a choice or because rounding errors have added up."""
        return self.choice_due or self._live.updates >= REFRESH_UPDATES

    @property
    def choice_due(self) -> bool:
        """Whether front and strength are to be chosen again: it is to be made anew at once."""
        return self._due is not None and len(self._known) >= self._due

    @property
    def nbytes(self) -> int:
        """Bytes it holds in memory."""
        taught = sum(vector.nbytes for kept in self._taught.values() for vector in kept)
        heads = self._live.nbytes + self.active.nbytes
        return heads + 4 * taught + self._seen.nbytes + KNOWN_BYTES * len(self._known)

    def learn(self, feedback: Sequence[LiveFeedback]) -> Learned:
        """Predicts, scores and learns what is new, until the copy is to be made anew."""
        scores: list[Score] = []
        for part in self._parts(feedback):
            active = right_about(self.active, part)
            live = right_about(self.head, part)
            self._live.apply(list(self._changes(part)))
            changed_at = None
            near_copies = self._near_copies(part)
            for item, one, other, near in zip(part, active, live, near_copies, strict=True):
                assert one is not None
                scores.append(Score(item.id, one, other))
                self._keep(item)
                changed_at = self._observe(item.id, one, other, near=near) or changed_at
            if changed_at is not None or self.choice_due:
                return Learned(scores, changed_at)
        return Learned(scores, None)

    def follow(self, scored: Sequence[LiveFeedback]) -> bool:
        """Learns what a copy on another server has scored; returns whether this one is good then.

        It is not after a change in the stream, or where a choice is due: what is stored makes it
        anew.
        """
        for part in self._parts(scored):
            self._live.apply(list(self._changes(part)))
            for item, near in zip(part, self._near_copies(part), strict=True):
                assert item.active_right is not None
                self._keep(item)
                if self._observe(item.id, item.active_right, item.live_right, near=near):
                    return False
            if self.choice_due:
                return False
        return True

    def passes(self, members: Sequence[Member], feedback: Sequence[LiveFeedback]) -> bool:
        """Returns whether it may take over, by `compare`; the gate keeps the comparison."""
        return self.gate.record(self.compare(members, feedback))

    def compare(self, members: Sequence[Member], feedback: Sequence[LiveFeedback]) -> Comparison:
        """Compares both on the examples that somebody vouches for.

        After a change in the stream those do not apply any more. Then both are compared on the
        examples that the live copy is built on; the copy is scored without each of them.

        Args:
            members: as the copy was made of.
            feedback: all that it has learned.
        """
        own = [item for item in feedback if item.id <= self.through]
        both: list[Example] = [*members, *own]
        latest = {item.digest: item for item in both}
        everything = list(latest.values())
        groups = groups_by_digest(everything)
        if self.changed:
            before = map(bool, right_about(self.active, own))
            weights = [self._known[item.digest][1] for item in own]
            after = left_out(self._live, own, weights, groups)
            return Comparison(_mean(list(before)), _mean(list(map(bool, after))), len(own))
        anchors = [member for member in members if member.anchor] or [
            member for member in members if not member.described
        ]
        if self._baseline is None:
            # Of the members alone: it must not depend on when it was first asked for. A logistic
            # version's folds keep its strength: to choose it takes seconds in each.
            spec = None if self.active.family in COALESCING else self._spec
            self._baseline = held_out(self.active, members, groups_by_digest(members), spec)
        return compare(
            [item.label for item in anchors],
            [self._baseline[item.digest] for item in anchors],
            left_out_anchors(self._live, self._known, anchors, everything, groups),
        )

    def held_out_logits(
        self, examples: Sequence[Example], groups: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Returns logits (n, classes) of what it is built on, each by the copy without its group.

        Rows of groups without which a class would have no example are nan.
        """
        known = [self._known[item.digest] for item in examples]
        return self._live.held_out_logits(
            np.stack([item.vector for item in examples]),
            [label for label, _ in known],
            np.array([weight for _, weight in known]),
            groups,
        )

    def _parts(self, feedback: Sequence[LiveFeedback]) -> Iterator[Sequence[LiveFeedback]]:
        if self.coalesces and feedback:
            yield feedback
        else:
            yield from ([item] for item in feedback)

    def _changes(self, part: Sequence[LiveFeedback]) -> Iterator[Change]:
        for item in part:
            label, weight = self._known.get(item.digest, (None, None))
            if (label, weight) != (item.label, item.weight):
                yield Change(item.vector, item.label, label, item.weight, weight)
            self._known[item.digest] = (item.label, item.weight)

    def _near_copies(self, feedback: Sequence[LiveFeedback]) -> list[bool]:
        """Returns which are near-copies of feedback before them."""
        if not feedback:
            return []
        near: list[bool] = self._seen.add(np.stack([item.vector for item in feedback])).tolist()
        return near

    def _keep(self, item: LiveFeedback) -> None:
        if self.active.novelty is not None:
            kept = self._taught.setdefault(item.label, deque(maxlen=MAX_KEPT_PER_CLASS))
            kept.append(item.vector)

    def _observe(
        self, feedback_id: int, active: bool, live: bool | None, *, near: bool
    ) -> int | None:
        """Records a score; returns the id of the first feedback after a detected change."""
        self.through = max(self.through, feedback_id)
        self.feedback_count += 1
        if live is not None:
            self.gate.observe(active, live, near_copy=near)
        serving_right = live if self.serving else active
        if serving_right is None:
            return None
        self._observed.append(feedback_id)
        if not self.drift.observe(serving_right):
            return None
        return self._observed[-min(self.drift.window, len(self._observed))]


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
