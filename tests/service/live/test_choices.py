"""Front and strength are chosen again as feedback comes, and a copy stays a function of the log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import adapters
from adapters import HeadSpec
from benchmarks.learning.following import Following
from service.live.live_copy import LiveCopy
from service.live.policy import Policy, Rules
from service.live.replay import replay
from service.store.live_set import LiveFeedback, Member
from tests.adapters.data import noisy
from tests.service.learning_head import IMMEDIATE, OpenLearningHead, around

RULES = Rules(Policy.MANUAL, error_rate=0.05, drift_delta=1e-9)
POOL, LABELS = noisy(160, 12, 3, distance=1.0)
MEMBERS = [Member(f"m{i}", POOL[i], LABELS[i], 1.0, anchor=True) for i in range(20)]


def feedback(rows: list[int], labels: list[str]) -> list[LiveFeedback]:
    return [
        LiveFeedback(i + 1, f"m{row}" if row < 20 else f"f{row}", POOL[row], label, 1.0, None, None)
        for i, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]


def learned(copy: LiveCopy, log: list[LiveFeedback], spec: HeadSpec, at_once: int) -> LiveCopy:
    """Let a copy learn as the server does: it is made anew where it is stale."""
    done: list[LiveFeedback] = []
    while len(done) < len(log):
        part = log[len(done) : len(done) + at_once]
        scores = copy.learn(part).scores
        done += [
            replace(item, active_right=score.active_right, live_right=score.live_right)
            for item, score in zip(part, scores, strict=False)
        ]
        if copy.stale:
            copy = made(copy.active, spec, done)
    log[:] = done
    return copy


def made(active: adapters.Head, spec: HeadSpec, log: list[LiveFeedback]) -> LiveCopy:
    return LiveCopy(1, active, MEMBERS, log, RULES, changed=False, spec=spec)


@pytest.mark.parametrize("family", ["ridge", "lda", "prototype", "auto"])
@settings(max_examples=15)
@given(data=st.data())
def test_copy_is_the_same_when_it_is_made_anew(family: str, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, 159), max_size=100, unique=True))
    labels = [data.draw(st.sampled_from(("class 0", "class 1", "new"))) for _ in rows]
    spec = HeadSpec(family)
    active = adapters.fit(POOL[:20], LABELS[:20], spec, fingerprint="f" * 64).head
    log = feedback(rows, labels)
    copy = learned(made(active, spec, []), log, spec, data.draw(st.integers(1, 16)))
    anew = made(active, spec, log)
    assert (anew.basis.family, anew.basis.l2) == (copy.basis.family, copy.basis.l2)
    assert anew.chosen_on == copy.chosen_on
    assert copy.chosen_on or copy.example_count < 30
    assert anew.gate.near_copies == copy.gate.near_copies
    assert anew.gate.evidence_better == copy.gate.evidence_better
    assert copy.head is not None
    assert anew.head is not None
    np.testing.assert_allclose(anew.head.logits(POOL), copy.head.logits(POOL), rtol=1e-4, atol=1e-6)
    last = replay(MEMBERS, log)
    assert copy.known == {item.digest: item.label for item in last.examples}
    assert not copy.choice_due


def test_choices_come_whenever_examples_have_grown_by_half_and_count_what_was_said_by_then() -> (
    None
):
    rows = list(range(10, 100))
    log = feedback(rows, ["class 0"] * 90)
    assert not replay(MEMBERS, log[:19]).chosen_on  # ten of them are members
    assert len(replay(MEMBERS, log[:20]).chosen_on) == 30
    assert len(replay(MEMBERS, log).chosen_on) == 68
    assert replay(MEMBERS, log).due == 102
    corrected = replace(log[5], id=91, label="class 1")
    assert replay(MEMBERS, [*log, corrected]).chosen_on == replay(MEMBERS, log).chosen_on
    assert len(replay([], log[:21]).chosen_on) == 20  # after a change in the stream


def clean(seed: int) -> tuple[NDArray[np.float32], list[str]]:
    """Two classes that differ a little in each of many numbers: few examples need a strong hand."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, 900)
    rows = rng.normal(size=(900, 60)) + 0.2 * (2 * targets[:, None] - 1)
    rows[:, 0] *= 30
    return rows.astype(np.float32), [str(target) for target in targets]


@pytest.mark.long
def test_clean_feedback_brings_what_a_training_brings_and_is_promoted() -> None:
    gains, possible, promoted = [], [], 0
    for seed in range(5):
        rows, labels = clean(seed)
        stream = Following(rows[:20], labels[:20], HeadSpec(seed=seed), Policy.GATED)
        copy = Following(rows[:20], labels[:20], HeadSpec(seed=seed), Policy.MANUAL)
        truth = np.array(labels[500:])

        def right(head: adapters.Head, rows: NDArray[np.float32] = rows) -> float:
            answers = np.array(head.labels)[head.logits(rows[500:]).argmax(axis=1)]
            return float(np.mean(answers == truth))  # noqa: B023

        before = right(copy.active)
        for row in range(20, 320):
            stream.send(rows[row], labels[row])
            copy.send(rows[row], labels[row])
        trained = adapters.fit(rows[:320], labels[:320], HeadSpec(), fingerprint="f" * 64).head
        gains.append(right(copy.live) - before)
        possible.append(right(trained) - before)
        promoted += bool(stream.promotions)
    assert np.mean(possible) > 0.05
    assert np.mean(gains) >= 0.8 * np.mean(possible)
    assert promoted >= 4


def test_near_copies_of_feedback_are_learned_but_no_evidence_for_either() -> None:
    spec = HeadSpec("ridge")
    active = adapters.fit(POOL[:20], LABELS[:20], spec, fingerprint="f" * 64).head
    rows = list(range(20, 30))
    wrong = [active.labels[int(active.logits(POOL[row][None]).argmin())] for row in rows]
    once = feedback(rows, wrong)
    blurred = [
        replace(item, id=item.id + 10, digest=f"again {item.digest}", vector=item.vector * 1.001)
        for item in once
    ]
    plain = learned(made(active, spec, []), list(once), spec, 1)
    log = [*once, *blurred]
    copy = learned(made(active, spec, []), log, spec, 1)
    assert (copy.gate.near_copies, copy.gate.scored, copy.feedback_count) == (10, 20, 20)
    assert copy.gate.evidence_better == plain.gate.evidence_better
    assert copy.gate.evidence_worse == plain.gate.evidence_worse
    assert copy.example_count == 40
    assert made(active, spec, log).gate.near_copies == 10


@pytest.mark.parametrize("family", ["ridge", "lda", "prototype"])
async def test_server_that_starts_again_makes_the_same_choice(
    open_learning_head: OpenLearningHead, family: str
) -> None:
    probes = around("red", 10, seed=5) + around("green", 10, seed=6)
    async with open_learning_head(IMMEDIATE, family=family) as head:
        members = len(await head.examples())
        for start in range(0, 30, 6):
            await head.send(around("red", 15, seed=7)[start // 2 : start // 2 + 3], "red")
            await head.send(around("blue", 15, seed=8)[start // 2 : start // 2 + 3], "blue")
        await head.send([1.001 * vector for vector in around("red", 2, seed=7)], "red")
        before, live = await head.probabilities(probes), await head.live()
    assert live.chosen_on == 3 * members // 2
    assert (live.example_count, live.near_copies) == (members + 32, 2)
    async with open_learning_head(family=family) as head:
        np.testing.assert_allclose(await head.probabilities(probes), before, atol=1e-6)
        assert await head.live() == live
