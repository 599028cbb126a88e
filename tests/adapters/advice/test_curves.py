"""Power laws through learning curves, and what they promise."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.advice.curves import REACH, PowerLaw, labels_needed
from adapters.report import LearningPoint

SIZES = (125, 250, 500, 1000, 2000)
MANY = 10**9
"""So many examples were measured on that accuracies are exact."""


def points(law: PowerLaw) -> list[LearningPoint]:
    return [LearningPoint(size, law.accuracy(size)) for size in SIZES]


@given(ceiling=st.floats(0.6, 1.0), factor=st.floats(0.3, 2.0), exponent=st.floats(0.2, 1.2))
@settings(max_examples=30, deadline=None)
def test_a_known_law_is_recovered(ceiling: float, factor: float, exponent: float) -> None:
    known = PowerLaw(ceiling, factor, exponent)
    found = PowerLaw.of(points(known), MANY)
    assert found is not None
    for examples in (300, 2000, 10_000):
        assert found.accuracy(examples) == pytest.approx(known.accuracy(examples), abs=1e-3)
    assert found.exponent == pytest.approx(exponent, rel=0.05)


def test_a_law_says_what_an_accuracy_takes() -> None:
    law = PowerLaw(0.95, 2.0, 0.5)
    assert law.examples(law.accuracy(1234)) == pytest.approx(1234)
    assert law.examples(0.95) == math.inf


def test_two_points_make_no_law() -> None:
    assert PowerLaw.of([LearningPoint(10, 0.5), LearningPoint(20, 0.6)], 20) is None
    assert labels_needed(None, 0.6, 20) == ()


def test_a_falling_curve_is_taken_for_a_flat_one() -> None:
    law = PowerLaw.of([LearningPoint(n, 0.8 - n / 1e5) for n in SIZES], 2000)
    assert law is not None
    assert law.accuracy(10**6) - law.accuracy(2000) == pytest.approx(0, abs=1e-6)


def test_accuracies_ahead_are_round_and_take_more_examples() -> None:
    law = PowerLaw(1.0, 6.0, 0.4)
    now = law.accuracy(2000)
    needed = labels_needed(law, now, 2000)
    assert len(needed) == 3
    previous = 2000
    for row in needed:
        assert row.accuracy > now
        assert row.accuracy == pytest.approx(round(row.accuracy, 2))
        assert row.examples is not None
        assert row.examples > previous
        assert law.accuracy(row.examples) == pytest.approx(row.accuracy, abs=1e-3)
        previous = row.examples


def test_what_lies_beyond_reach_is_not_promised() -> None:
    flat = PowerLaw(0.735, 1.0, 0.5)
    needed = labels_needed(flat, flat.accuracy(2000), 2000)
    assert [row.examples for row in needed] == [None, None, None]
    slow = labels_needed(PowerLaw(1.0, 0.6, 0.1), 0.72, 2000)
    for row in slow:
        assert row.examples is None or row.examples <= REACH * 2000


def test_perfect_accuracy_needs_nothing() -> None:
    assert labels_needed(PowerLaw(1.0, 0.0, 0.5), 1.0, 100) == ()
