"""A threshold keeps what was wanted as often as it promises, whatever the examples are like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import beta, binom

from adapters import DecisionRule, HeadSpec, InvalidSpec, accept, diagnose, fit
from adapters.decisions import DecisionCurve, DecisionPoint, _effective
from adapters.groups import effective_count
from tests.adapters.data import noisy

Array = NDArray[np.float64]
Truth = Callable[[Array], Array]
Groups = Callable[[np.random.Generator, int], NDArray[np.intp]]

RUNS = 250
UNLUCKY = 0.001
"""How seldom a test may fail although all is well."""


def confidences(rng: np.random.Generator, n: int) -> Array:
    return np.clip(0.5 + 0.5 * rng.beta(2, 0.4, n), 0.5, 1 - 1e-6)


def curve_of(
    confidence: Array, right: NDArray[Any], groups: NDArray[np.intp] | None
) -> DecisionCurve:
    logits = np.stack([logit(confidence), np.zeros(len(confidence))], axis=1)
    return DecisionCurve.of(logits, np.where(right, 0, 1), 1.0, groups)


def misses(n: int, rule: DecisionRule, truth: Truth, groups: Groups | None = None) -> int:
    """Counts the runs in which less is truly right above the chosen threshold than was wanted."""
    everything = np.sort(confidences(np.random.default_rng(99), 200_000))[::-1]
    precision = np.cumsum(truth(everything)) / np.arange(1, len(everything) + 1)
    missed = 0
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        sizes = np.ones(n, np.intp) if groups is None else groups(rng, n)
        one = confidences(rng, len(sizes))
        right = rng.random(len(sizes)) < truth(one)
        members = np.repeat(np.arange(len(sizes)), sizes)
        found = accept(curve_of(one[members], right[members], members), rule)
        if found.threshold is not None:
            accepted = int(np.searchsorted(-everything, -found.threshold))
            missed += precision[max(accepted - 1, 0)] < rule.precision
    return missed


def at_most(share: float) -> int:
    """Returns how many of the runs miss with that probability each, but for bad luck."""
    return int(binom.ppf(1 - UNLUCKY, RUNS, share))


def just_below(confidence: Array) -> Array:
    """Nothing that could be accepted is good enough, by a hair: the worst there can be."""
    return np.full_like(confidence, 0.949)


def calibrated(confidence: Array) -> Array:
    return confidence


def best_are_worse(confidence: Array) -> Array:
    """Precision falls towards the highest probabilities, where labels are noisy."""
    return np.where(confidence > 0.95, 0.945, 0.96)


@pytest.mark.costly
@pytest.mark.parametrize("n", [70, 150, 400, 2000])
@pytest.mark.parametrize("truth", [just_below, calibrated, best_are_worse])
def test_threshold_keeps_the_precision_as_often_as_it_says(n: int, truth: Truth) -> None:
    assert misses(n, DecisionRule(0.95, 0.9), truth) <= at_most(0.1)


@pytest.mark.costly
@pytest.mark.parametrize(
    "groups",
    [
        lambda rng, n: rng.integers(1, 8, n // 4),
        lambda rng, n: np.minimum(1 + rng.pareto(1.2, n // 3), 60).astype(np.intp),
    ],
    ids=["alike", "a few large ones"],
)
@pytest.mark.parametrize("truth", [just_below, calibrated])
def test_copies_are_no_evidence(groups: Groups, truth: Truth) -> None:
    assert misses(800, DecisionRule(0.95, 0.9), truth, groups) <= at_most(0.1)


@pytest.mark.costly
def test_the_best_of_many_intervals_would_promise_too_much() -> None:
    """What the sequence is for: each point's own interval, and the best point, misses too often."""
    rule, missed = DecisionRule(0.95, 0.9), 0
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        one = confidences(rng, 2000)
        curve = curve_of(one, rng.random(2000) < just_below(one), None)
        missed += any(curve.interval(point, 0.1)[0] >= 0.95 for point in curve.points)
    assert missed > RUNS / 4
    assert misses(2000, rule, just_below) <= at_most(0.1)


@pytest.mark.costly
def test_trained_heads_keep_it_on_examples_they_have_not_seen() -> None:
    """From end to end: few examples of unequal classes, and a family chosen on the same ones."""
    rule, runs, missed, accepted = DecisionRule(0.9, 0.9), 30, 0, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        embeddings, names = noisy(6000, 8, 3, distance=2.2, seed=seed)
        labels = np.array(names)
        kept = {"class 0": 0.15, "class 1": 0.5, "class 2": 1.0}
        chosen = rng.permutation(6000)
        chosen = chosen[rng.random(6000) < [kept[label] for label in labels[chosen]]]
        some, fresh = chosen[:300], chosen[300:]
        given_labels = labels[some].tolist()
        fitted = fit(embeddings[some], given_labels, HeadSpec(seed=seed), fingerprint="f")
        fitted = diagnose(fitted, embeddings[some], given_labels)
        assert fitted.report.decisions is not None
        found = accept(fitted.report.decisions, rule)
        if found.threshold is not None:
            accepted += 1
            probabilities = fitted.head.probabilities(embeddings[fresh])
            answers = np.array(fitted.head.labels)[probabilities.argmax(axis=1)]
            sure = probabilities.max(axis=1) > found.threshold
            missed += (answers == labels[fresh])[sure].mean() < rule.precision
    assert accepted > runs / 2
    assert missed <= binom.ppf(1 - UNLUCKY, runs, 0.1)


def test_accepts_most_of_what_could_be_accepted() -> None:
    rng = np.random.default_rng(0)
    one = confidences(rng, 20_000)
    found = accept(curve_of(one, rng.random(20_000) < one, None), DecisionRule(0.95))
    truth = np.cumsum(np.sort(one)[::-1]) / np.arange(1, 20_001)
    possible = np.flatnonzero(truth >= 0.95)[-1] / 20_000
    assert found.threshold is not None
    assert found.precision_low >= 0.95
    assert found.precision_low <= found.precision <= found.precision_high
    assert possible - 0.06 < found.share <= possible
    assert found.accepted == round(found.share * 20_000)


def test_everything_is_accepted_where_all_is_right() -> None:
    one = confidences(np.random.default_rng(0), 500)
    found = accept(curve_of(one, np.ones(500), None), DecisionRule(0.98))
    assert (found.threshold, found.share, found.precision) == (0.0, 1.0, 1.0)
    assert found.reason == ""


def test_too_few_examples_accept_nothing_and_say_how_many_it_takes() -> None:
    one = confidences(np.random.default_rng(0), 148)
    found = accept(curve_of(one, np.ones(148), None), DecisionRule(0.98))
    assert found.threshold is None
    assert "149" in found.reason
    assert "148" in found.reason
    more = confidences(np.random.default_rng(0), 149)
    assert accept(curve_of(more, np.ones(149), None), DecisionRule(0.98)).threshold == 0.0


def test_a_head_that_is_never_sure_enough_accepts_nothing() -> None:
    rng = np.random.default_rng(0)
    one = confidences(rng, 3000)
    found = accept(curve_of(one, rng.random(3000) < 0.6, None), DecisionRule(0.98))
    assert found.threshold is None
    assert "0.98" in found.reason


def test_points_count_what_lies_above_their_thresholds() -> None:
    rng = np.random.default_rng(3)
    one = np.round(confidences(rng, 700), 2).clip(0.5, 0.99)  # many are equal
    right = rng.random(700) < one
    curve = curve_of(one, right, None)
    served = (1 / (1 + np.exp(-logit(one)))).astype(np.float32)
    for point in curve.points:
        above = served > point.threshold
        assert (point.accepted, point.right) == (above.sum(), right[above].sum())
    assert curve.points[-1] == DecisionPoint(0.0, 700, int(right.sum()), 700.0)


def test_interval_is_the_exact_one() -> None:
    curve = DecisionCurve((DecisionPoint(0.5, 200, 195, 200.0),))
    low, high = curve.interval(curve.points[0])
    assert low == pytest.approx(beta.ppf(0.025, 195, 6))
    assert high == pytest.approx(beta.ppf(0.975, 196, 5))


def test_optimism_adds_its_share_of_errors_everywhere() -> None:
    points = (DecisionPoint(0.9, 100, 99, 100.0), DecisionPoint(0.0, 200, 180, 200.0))
    plain, wary = DecisionCurve(points), DecisionCurve(points, optimism=0.05)
    assert [plain.precision(point) for point in points] == pytest.approx([0.99, 0.9])
    assert [wary.precision(point) for point in points] == pytest.approx([0.985, 0.85])
    assert wary.interval(points[0])[0] < plain.interval(points[0])[0]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60))
def test_growing_parts_are_worth_what_their_groups_are(numbers: list[int]) -> None:
    groups = np.array(numbers, dtype=np.intp)
    expected = [effective_count(groups[:k]) for k in range(1, len(groups) + 1)]
    assert _effective(groups) == pytest.approx(expected)


@pytest.mark.parametrize("field", ["precision", "confidence"])
@pytest.mark.parametrize("value", [0.49, 0.99991, float("nan"), -1.0])
def test_rules_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidSpec, match=r"from 0\.5 to 0\.9999") as caught:
        replace(DecisionRule(0.9), **{field: value})
    assert caught.value.field == f"decide.{field}"
