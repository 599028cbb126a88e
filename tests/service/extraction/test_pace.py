"""The pace of batches by clocks that tick seldom."""

from __future__ import annotations

import pytest

from service.extraction.pace import Pace


def test_batch_that_takes_no_time_by_its_clock_is_taken_in() -> None:
    pace = Pace()
    for _ in range(3):
        pace.record(16, 16, 0.0, 1.0, full=True)
    assert pace.seconds(16, 16, 1.0) == pytest.approx(1e-4)


def test_batches_that_take_time_count_after_some_that_took_none() -> None:
    pace = Pace()
    pace.record(16, 16, 0.0, 1.0, full=True)
    for tick in range(10):
        pace.record(16, 16, 0.1, 1.0 + 0.1 * tick, full=True)
    known = pace.seconds(16, 16, 2.0)
    assert known is not None
    assert known > 0.005
