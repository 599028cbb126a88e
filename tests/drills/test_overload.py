"""What a cell of an overload shows is judged: each promise that it breaks is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drills.overload import OVERLOAD_SECONDS, ROWS, Cell, Seen, judge

CELL = Cell(factor=3.0, capacity=10.0, deadline=1.0)
MOST = int(10 * OVERLOAD_SECONDS)


def seen(answered: int = MOST, refusals: tuple[float, ...] = (0.01,), lost: int = 0) -> Seen:
    """A cell whose backbone also computed requests that were lost."""
    computed = ROWS * (answered + lost)
    return Seen(answered=answered, refusal_seconds=list(refusals), computed=computed)


def test_cell_that_keeps_every_promise_is_not_named() -> None:
    assert judge(CELL, seen(lost=MOST // 20), 1.0) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (seen(answered=0), "nothing was answered"),
        (seen(refusals=()), "nothing was refused"),
        (seen(refusals=(0.01, 0.01, 1.1)), "a refusal took 1.1 s"),
        (seen(refusals=(0.01, 0.4, 0.4)), "half of the refusals took more than 0.4 s"),
        (seen(lost=MOST // 10), "91% of what was computed was in time"),
        (seen(answered=MOST // 2), "50% of the capacity was useful"),
        (replace(seen(), ready=False), "it was not ready"),
    ],
)
def test_broken_promise_is_named(wrong: Seen, words: str) -> None:
    assert f"{CELL}: {words}" in judge(CELL, wrong, 1.0)


def test_slack_loosens_every_bound_and_lifts_none() -> None:
    slow = seen(refusals=(0.4, 0.4, 1.5), lost=MOST // 10)
    assert judge(CELL, slow, 2.0) == []
    slower = seen(answered=MOST // 3, refusals=(0.7, 2.1), lost=MOST // 10)
    assert len(judge(CELL, slower, 2.0)) == 4


def test_ten_times_the_capacity_may_be_less_useful() -> None:
    cell = replace(CELL, factor=10.0)
    assert judge(cell, seen(answered=MOST // 2), 1.0) == []
