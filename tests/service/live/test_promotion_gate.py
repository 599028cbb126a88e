"""The gate from both sides: bad feedback does no harm, and good feedback gets through."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.random import Generator

from adapters import HeadSpec, fit
from benchmarks.learning.following import Following
from service.live.comparison import compare
from service.live.policy import Policy
from service.live.promotion_gate import Decision, PromotionGate
from tests.service.live.digits import Digits

pytestmark = pytest.mark.costly

FEEDBACKS = 500
SEEDS = range(10)

Given = Iterator[tuple[int, str]]
"""Rows and the labels that users give them."""


def clean(digits: Digits, stream: Following, generator: Generator) -> Given:
    yield from ((i, digits.labels[i]) for i in digits.stream)


def flipped(digits: Digits, stream: Following, generator: Generator) -> Given:
    for i in digits.stream:
        others = [label for label in digits.classes if label != digits.labels[i]]
        lie = generator.random() < 0.3
        yield i, str(generator.choice(others)) if lie else digits.labels[i]


def one_class_mislabelled(digits: Digits, stream: Following, generator: Generator) -> Given:
    victim, other = generator.choice(digits.classes, 2, replace=False)
    for i in digits.stream:
        yield i, str(other) if digits.labels[i] == victim else digits.labels[i]


def corrections_only(digits: Digits, stream: Following, generator: Generator) -> Given:
    # What is left of the data is not enough for 500 mistakes, so rows come again, a bit blurred.
    while True:
        for i in digits.stream:
            digits.rows[i] += generator.normal(scale=0.5, size=64).astype(np.float32)
            head = stream.serving
            if head.labels[int(head.logits(digits.rows[i : i + 1]).argmax())] != digits.labels[i]:
                yield i, digits.labels[i]


def follow(given: Callable[..., Given], seed: int, start: int) -> tuple[Following, list[float]]:
    """What becomes of a head, and its held-out accuracy at the start and after each promotion."""
    digits = Digits(seed, start)
    stream = digits.open()
    accuracies = [digits.accuracy(stream.serving)]
    feedback = given(digits, stream, np.random.default_rng(seed))
    for _, (i, label) in zip(range(FEEDBACKS), feedback, strict=False):
        promotions = len(stream.promotions)
        stream.send(digits.rows[i].copy(), label)
        if len(stream.promotions) > promotions:
            accuracies.append(digits.accuracy(stream.serving))
    return stream, accuracies


@pytest.mark.parametrize("start", [30, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "given",
    [
        flipped,
        pytest.param(one_class_mislabelled, marks=pytest.mark.long),
        pytest.param(corrections_only, marks=pytest.mark.long),
    ],
)
def test_bad_feedback_never_costs_more_than_a_point(
    given: Callable[..., Given], start: int
) -> None:
    losses = []
    for seed in SEEDS:
        _, accuracies = follow(given, seed, start)
        losses.append(accuracies[0] - min(accuracies))
    assert np.mean(losses) <= 0.01, losses


@pytest.mark.long
def test_good_feedback_gets_through_to_a_head_of_few_examples() -> None:
    promoted, gains = 0, []
    for seed in SEEDS:
        stream, accuracies = follow(clean, seed, start=30)
        promoted += bool(stream.promotions)
        gains.append(accuracies[-1] - accuracies[0])
        assert not stream.drops
    assert promoted >= 8
    assert np.mean(gains) > 0.05


@pytest.mark.parametrize("policy", [Policy.IMMEDIATE, Policy.GATED])
def test_live_copy_recovers_from_a_change_of_what_labels_mean(policy: Policy) -> None:
    behind = []
    for seed in range(3):
        digits = Digits(seed, start=100)
        stream = digits.open(policy)
        swapped = dict(zip(digits.classes, np.roll(digits.classes, 1).tolist(), strict=True))
        half = len(digits.stream) // 2
        for i in digits.stream[:half]:
            stream.send(digits.rows[i], digits.labels[i])
        assert not stream.changes
        labels = [swapped[label] for label in digits.labels]
        seen: list[int] = []
        for i in digits.stream[half:]:
            stream.send(digits.rows[i], labels[i])
            seen.append(i)
            if stream.changes and len(seen) >= stream.changes[0] - half + 150:
                break
        assert len(stream.changes) == 1
        assert stream.changes[0] - half < 100
        reference = fit(
            digits.rows[seen],
            [labels[i] for i in seen],
            HeadSpec(family="ridge"),
            fingerprint="f" * 64,
        ).head
        behind.append(digits.accuracy(reference, labels) - digits.accuracy(stream.live, labels))
        # Under the policy gated it has taken over, and follows when it is shown to be better again.
        assert digits.accuracy(stream.serving, labels) > 0.6
    assert np.mean(behind) <= 0.03, behind


def test_comparison_allows_a_point_in_all_and_the_loss_of_no_class() -> None:
    assert not compare([], [], []).passed
    labels = ["a"] * 100 + ["b"] * 100
    right = [True] * 200
    assert compare(labels, right, [False] + [True] * 199).passed
    assert not compare(labels, right, [False] * 2 + [True] * 98 + [False] * 2 + [True] * 98).passed
    few = compare(["a", "b"] * 5, [False, True] * 5, [True, False] * 5)
    assert few.live == few.active
    assert not few.passed  # ten examples that disagree are no evidence
    before = [True] * 100 + [False] * 50 + [True] * 50
    after = [False] * 10 + [True] * 190
    lost = compare(labels, before, after)
    assert lost.live > lost.active
    assert lost.worse_class == "a"
    assert not lost.passed


def test_copy_that_was_held_back_is_compared_again_only_after_more_feedback() -> None:
    gate = PromotionGate(0.05)
    for _ in range(20):
        gate.observe(active_right=False, live_right=True)
    decisions = [gate.decision]
    assert not gate.record(compare(["a", "b"], [True, True], [False, True]))
    assert gate.held_back
    for _ in range(10):
        decisions.append(gate.decision)
        gate.observe(active_right=False, live_right=True)
    decisions.append(gate.decision)
    assert decisions == [Decision.COMPARE, *[Decision.KEEP] * 10, Decision.COMPARE]
    assert gate.record(compare(["a", "b"], [True, True], [True, True]))
    assert not gate.held_back
