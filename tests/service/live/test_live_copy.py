"""A live copy by itself: what it keeps for novelty, what drift is seen in, how it is compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import adapters
from adapters.novelty import MAX_KEPT_PER_CLASS, unit
from service.live.comparison import Comparison
from service.live.live_copy import LiveCopy
from service.live.policy import Policy, Rules
from service.live.status import LiveState, status_of
from service.store.live_set import LiveFeedback, Member
from tests.service.tiny_backbone import FINGERPRINT

DIM = 16


def near(label: str, count: int, seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=(count, DIM))
    return (noise + (4 if label == "a" else -4)).astype(np.float32)


LABELS = ["a"] * 60 + ["b"] * 60
VECTORS = np.concatenate([near("a", 60, seed=1), near("b", 60, seed=2)])
MEMBERS = [
    Member(f"m{i}", vector, label, 1.0, anchor=True)
    for i, (vector, label) in enumerate(zip(VECTORS, LABELS, strict=True))
]


def copy_of_a_head(*, novelty: bool = False, policy: Policy = Policy.IMMEDIATE) -> LiveCopy:
    spec = adapters.HeadSpec(family="ridge", novelty=adapters.NoveltySpec() if novelty else None)
    fitted = adapters.fit(VECTORS, LABELS, spec, fingerprint=FINGERPRINT)
    head = adapters.diagnose(fitted, VECTORS, LABELS).head
    rules = Rules(policy, error_rate=0.05, drift_delta=1e-9)
    return LiveCopy(1, head, MEMBERS, [], rules, changed=False)


def taught(count: int) -> list[LiveFeedback]:
    """Feedback on one class, each on an input of its own."""
    vectors = near("a", count, seed=3)
    return [
        LiveFeedback(i + 1, f"f{i}", vector, "a", 1.0, None, None)
        for i, vector in enumerate(vectors)
    ]


def test_of_what_feedback_taught_the_last_embeddings_of_a_class_count_for_novelty() -> None:
    copy, feedback = copy_of_a_head(novelty=True), taught(MAX_KEPT_PER_CLASS + 10)
    learned = copy.learn(feedback)
    assert learned.changed_at is None
    assert copy.scoring_head is not None
    assert copy.scoring_head.novelty is not None
    assert copy.active.novelty is not None
    added = copy.scoring_head.novelty.bank[len(copy.active.novelty.bank) :]
    last = np.stack([item.vector for item in feedback[-MAX_KEPT_PER_CLASS:]])
    np.testing.assert_array_equal(added, unit(last).astype(np.float16))


def test_memory_of_a_copy_counts_what_it_keeps_for_novelty() -> None:
    looking, plain = copy_of_a_head(novelty=True), copy_of_a_head(novelty=False)
    before = looking.nbytes - plain.nbytes
    feedback = taught(30)
    for copy in (looking, plain):
        copy.learn(feedback)
    kept = sum(item.vector.nbytes for item in feedback)
    assert looking.nbytes - plain.nbytes >= before + kept


@pytest.mark.parametrize("policy", [Policy.IMMEDIATE, Policy.MANUAL])
def test_drift_is_looked_for_in_the_answers_that_were_served(policy: Policy) -> None:
    copy, count = copy_of_a_head(policy=policy), 30
    between = np.tile([4, -4], DIM // 2) + near("a", count, seed=4) - 4
    vectors = between.astype(np.float32)
    best = copy.active.logits(vectors).argmax(axis=1)
    wrong = [copy.active.labels[1 - i] for i in best]
    copy.learn(
        [
            LiveFeedback(i + 1, f"f{i}", vector, label, 1.0, None, None)
            for i, (vector, label) in enumerate(zip(vectors, wrong, strict=True))
        ]
    )
    status = status_of(copy, None)
    assert (status.scored, status.active_right) == (count, 0)
    assert status.live_right > 0
    served = status.live_right if policy is Policy.IMMEDIATE else status.active_right
    assert status.drift.window == count
    assert status.drift.accuracy == pytest.approx(served / count)


def test_anchors_to_which_feedback_gave_another_label_count_against_the_copy() -> None:
    copy = copy_of_a_head(policy=Policy.MANUAL)
    relabelled = [
        LiveFeedback(i + 1, item.digest, item.vector, "b", 1.0, None, None)
        for i, item in enumerate(MEMBERS[:6])
    ]
    before = copy.compare(MEMBERS, [])
    assert (before.active, before.live) == (1, 1)
    copy.learn(relabelled)
    after = copy.compare(MEMBERS, relabelled)
    assert after.active == 1
    assert after.live == pytest.approx(1 - len(relabelled) / len(MEMBERS))
    assert not after.passed


@pytest.mark.parametrize(("worse", "told"), [("a", True), (None, False)])
def test_copy_that_is_held_back_names_the_class_that_fares_worse(
    worse: str | None, told: bool
) -> None:
    copy = copy_of_a_head(policy=Policy.MANUAL)
    for _ in range(20):
        copy.gate.observe(active_right=False, live_right=True)
    assert not copy.gate.record(Comparison(0.9, 0.8, 100, worse_class=worse))
    status = status_of(copy, None)
    assert status.state is LiveState.HELD_BACK
    assert "80.0% right on the stored examples" in status.reason
    assert status.reason.endswith("'a' fares worse") is told


def test_copy_that_follows_what_another_has_scored_becomes_the_same() -> None:
    first, second = copy_of_a_head(), copy_of_a_head()
    feedback = taught(6)
    scores = first.learn(feedback).scores
    scored = [
        replace(item, active_right=score.active_right, live_right=score.live_right)
        for item, score in zip(feedback, scores, strict=True)
    ]
    assert second.follow(scored)
    assert (second.through, second.known) == (first.through, first.known)
    assert (second.gate.scored, second.gate.live_right) == (
        first.gate.scored,
        first.gate.live_right,
    )
    assert first.head is not None
    assert second.head is not None
    np.testing.assert_array_equal(second.head.weight, first.head.weight)
    more = taught(9)[6:]
    assert second.learn(more).scores == first.learn(more).scores


def test_descriptions_vouch_for_nothing_where_a_copy_is_compared() -> None:
    copy = copy_of_a_head()
    described = [replace(member, anchor=False, described=True) for member in MEMBERS[::2]]
    others = [replace(member, anchor=False) for member in MEMBERS[1::2]]
    assert copy.compare([*described, *others], []).examples == len(others)
    assert (
        copy.compare([replace(m, anchor=False, described=True) for m in MEMBERS], []).examples == 0
    )
