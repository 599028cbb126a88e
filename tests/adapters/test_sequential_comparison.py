"""The paired test: right about as rarely wrong as it promises, however often one looks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st

from adapters import InvalidArgument, PairedTest
from adapters.sequential_comparison import PATIENCE

pytestmark = pytest.mark.costly

OUTCOMES = {"win": (False, True), "loss": (True, False), "both": (True, True), "no": (False, False)}


def after(wins: int, losses: int, error_rate: float = 0.05) -> PairedTest:
    test = PairedTest(error_rate)
    for outcome, count in (("win", wins), ("loss", losses)):
        for _ in range(count):
            test.observe(*OUTCOMES[outcome])
    return test


def following(outcomes: Iterable[str]) -> PairedTest:
    test = PairedTest(0.05)
    for outcome in outcomes:
        test.observe(*OUTCOMES[outcome])
    return test


def needed(test: PairedTest, outcomes: Sequence[str]) -> int:
    """How many of the outcomes it takes until the copy is called better; all, if it is not."""
    for count, outcome in enumerate(outcomes, 1):
        test.observe(*OUTCOMES[outcome])
        if test.better:
            return count
    return len(outcomes)


def share_that_ever_calls(chance: float, runs: int, steps: int, error_rate: float) -> float:
    """Share of runs that call the copy better at any of their steps; all pairs are discordant."""
    rng = np.random.default_rng(11)
    called = 0
    for _ in range(runs):
        test = PairedTest(error_rate)
        for live_right in rng.random(steps) < chance:
            test.observe(not live_right, bool(live_right))
            if test.better:
                called += 1
                break
    return called / runs


@pytest.mark.parametrize("error_rate", [0.05, 0.2])
def test_no_better_copy_is_rarely_called_better_with_a_look_at_every_step(
    error_rate: float,
) -> None:
    # Two standard errors of the simulation are allowed for.
    slack = 2 * math.sqrt(error_rate * (1 - error_rate) / 400)
    assert share_that_ever_calls(0.5, 400, 500, error_rate) <= error_rate + slack


def test_better_copy_is_called_better_soon() -> None:
    assert share_that_ever_calls(0.75, 100, 60, 0.05) >= 0.9
    assert share_that_ever_calls(0.95, 100, 16, 0.05) >= 0.9


@given(outcomes=st.lists(st.sampled_from(("win", "loss")), max_size=60))
def test_null_is_a_martingale_and_every_worse_copy_less(outcomes: list[str]) -> None:
    """The expected e-value after one more discordant pair, computed exactly."""
    now = following(outcomes).evidence_better
    win = following([*outcomes, "win"]).evidence_better
    loss = following([*outcomes, "loss"]).evidence_better
    assert (win + loss) / 2 == pytest.approx(now, rel=1e-9)
    assert 0.4 * win + 0.6 * loss <= now * (1 + 1e-9)


def mean_ratio(wins: int, losses: int) -> float:
    """Mean likelihood ratio over all alternatives, of which those near a fair coin count more."""

    def ratio(p: float) -> float:
        return 8 * (1 - p) * (2 * p) ** wins * (2 * (1 - p)) ** losses

    return float(scipy.integrate.quad(ratio, 0.5, 1.0)[0])


@given(outcomes=st.lists(st.sampled_from(("win", "loss")), max_size=40))
def test_evidence_is_the_mean_likelihood_ratio_over_all_starts_and_alternatives(
    outcomes: list[str],
) -> None:
    expected, waiting = 0.0, 1.0
    for start in range(len(outcomes)):
        since = outcomes[start:]
        expected += (
            waiting / (start + PATIENCE) * mean_ratio(since.count("win"), since.count("loss"))
        )
        waiting -= waiting / (start + PATIENCE)
    assert following(outcomes).evidence_better == pytest.approx(expected + waiting, rel=0.01)


@given(outcomes=st.lists(st.sampled_from(sorted(OUTCOMES)), max_size=60))
def test_only_discordant_pairs_count(outcomes: list[str]) -> None:
    discordant = [outcome for outcome in outcomes if outcome in ("win", "loss")]
    test, counted = following(outcomes), following(discordant)
    assert test.evidence_better == counted.evidence_better
    assert test.evidence_worse == counted.evidence_worse


def test_copy_that_gets_better_late_needs_little_more_than_one_that_was_better_at_once() -> None:
    """Early scores, of a copy that was no better yet, do not weigh down those that come later."""
    rng = np.random.default_rng(5)
    late, at_once = [], []
    for _ in range(40):
        before = rng.permutation(["win", "loss"] * 100).tolist()
        after_it = ["win" if won else "loss" for won in rng.random(400) < 0.75]
        late.append(needed(following(before), after_it))
        at_once.append(needed(PairedTest(0.05), after_it))
    growth = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # of the capital's logarithm, a pair
    assert np.mean(late) <= np.mean(at_once) + math.log(200**2 / PATIENCE**2) / growth


@given(outcomes=st.lists(st.sampled_from(("win", "loss")), max_size=120))
def test_the_two_directions_mirror_each_other(outcomes: list[str]) -> None:
    mirrored = ["loss" if outcome == "win" else "win" for outcome in outcomes]
    one, other = following(outcomes), following(mirrored)
    assert one.evidence_better == other.evidence_worse
    assert one.better == other.worse


def test_copy_that_was_better_is_called_worse_soon_after_it_has_become_so() -> None:
    test = after(30, 0)
    assert test.better
    assert not test.worse
    assert needed_to_be_worse(test) < 30


def needed_to_be_worse(test: PairedTest) -> int:
    """How many losses in a row it takes."""
    for count in range(1, 100):
        test.observe(*OUTCOMES["loss"])
        if test.worse:
            return count
    raise AssertionError("100 losses in a row are not enough")


def test_decision_is_the_evidence_against_the_error_rate() -> None:
    evidence = [after(wins, 0).evidence_better for wins in range(12)]
    assert evidence[0] == 1.0
    assert all(more > less for less, more in pairwise(evidence))
    for wins, value in enumerate(evidence):
        assert after(wins, 0, 0.05).better == (value >= 20)
    assert after(11, 0).better
    assert after(0, 11).worse


def test_a_very_long_stream_neither_overflows_nor_vanishes() -> None:
    test = after(5000, 0)
    assert math.isfinite(test.evidence_better)
    assert test.evidence_better > 1e300
    assert test.evidence_worse > 0


@pytest.mark.parametrize("error_rate", [0.0, 1.0, -0.1, math.nan])
def test_an_impossible_error_rate_is_refused(error_rate: float) -> None:
    with pytest.raises(InvalidArgument) as raised:
        PairedTest(error_rate)
    assert raised.value.field == "error_rate"
