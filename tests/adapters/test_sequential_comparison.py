"""The paired test: right about as rarely wrong as it promises, however often one looks."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st

from adapters import InvalidArgument, PairedTest

pytestmark = pytest.mark.costly

OUTCOMES = {"win": (False, True), "loss": (True, False), "both": (True, True), "no": (False, False)}


def after(wins: int, losses: int, error_rate: float = 0.05) -> PairedTest:
    test = PairedTest(error_rate)
    for outcome, count in (("win", wins), ("loss", losses)):
        for _ in range(count):
            test.observe(*OUTCOMES[outcome])
    return test


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
    assert share_that_ever_calls(0.95, 100, 12, 0.05) >= 0.9


def test_null_is_a_martingale_and_every_worse_copy_less() -> None:
    """The expected e-value after one more discordant pair, computed exactly."""
    for wins, losses in ((0, 0), (3, 1), (10, 14), (40, 22)):
        now = after(wins, losses).evidence_better
        win = after(wins + 1, losses).evidence_better
        loss = after(wins, losses + 1).evidence_better
        assert (win + loss) / 2 == pytest.approx(now, rel=1e-9)
        assert 0.4 * win + 0.6 * loss <= now * (1 + 1e-9)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (7, 2), (2, 7), (60, 40)])
def test_evidence_is_the_mean_likelihood_ratio_over_all_alternatives(
    wins: int, losses: int
) -> None:
    def ratio(p: float) -> float:
        return 2 * (2 * p) ** wins * (2 * (1 - p)) ** losses

    expected = scipy.integrate.quad(ratio, 0.5, 1.0)[0]
    assert after(wins, losses).evidence_better == pytest.approx(expected, rel=0.01)


@given(outcomes=st.lists(st.sampled_from(sorted(OUTCOMES)), max_size=60))
def test_only_discordant_pairs_count_and_their_order_does_not(outcomes: list[str]) -> None:
    test = PairedTest(0.05)
    for outcome in outcomes:
        test.observe(*OUTCOMES[outcome])
    counted = after(outcomes.count("win"), outcomes.count("loss"))
    assert test.evidence_better == counted.evidence_better
    assert test.evidence_worse == counted.evidence_worse


@given(wins=st.integers(0, 60), losses=st.integers(0, 60))
def test_the_two_directions_mirror_each_other(wins: int, losses: int) -> None:
    one, other = after(wins, losses), after(losses, wins)
    assert one.evidence_better == other.evidence_worse
    assert one.better == other.worse
    assert not (one.better and one.worse)


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
