"""When a request would be done, as told from what is known and what lies ahead."""

from __future__ import annotations

import pytest

from service.concurrency.demand import Demand, Waiter
from service.errors import QueueFull
from service.extraction.forecast import Forecast, RowWork, Stage
from service.extraction.pace import Pace


def test_promised_request_is_admitted_once_the_pace_is_forgotten() -> None:
    pace, passes, decoding_pace = Pace(), Pace(), Pace()
    decoding, passing = Stage(decoding_pace, 1, 4), Stage(pace, 1, 4)
    forecast = Forecast(decoding, passing, passes)
    row = RowWork(decoding, 1, 1)
    pace.record(4, 4, 1.0, 0.0, full=True)
    passes.record(4, 4, 1.0, 0.0, full=True)
    passing.add("other", 1, 1)
    with (
        pytest.raises(QueueFull) as refusal,
        forecast.admit("acme", "key", [row], [Demand(Waiter(4.1))], 4.0),
    ):
        pass
    passes.record(1, 1, 0.2, 4.9, full=False)  # it waited for the device, so no pace is known of it
    assert refusal.value.retry_after is not None
    assert 4.0 + refusal.value.retry_after < 5.8
    with forecast.admit("acme", "key", [row], [Demand(Waiter(5.9))], 5.8) as place:
        assert not place.trial
