"""Who waits for a row, and what becomes of rows when they leave."""

from __future__ import annotations

import asyncio
import math

from service.concurrency.demand import Demand, Waiter
from service.errors import QueueFull, Unavailable


async def test_dropped_row_takes_its_siblings_along_but_not_those_that_others_wait_for() -> None:
    loop = asyncio.get_running_loop()
    mine, other = Waiter(1.0), Waiter(2.0)
    rows = [Demand(mine), Demand(mine), Demand(mine, other)]
    futures = [loop.create_future() for _ in rows]
    for row, future in zip(rows, futures, strict=True):
        row.queued(future)
    rows[0].drop(QueueFull("too late"))
    for future in futures[:2]:
        assert future.done()
        assert isinstance(future.exception(), QueueFull)
    assert not futures[2].done()
    assert rows[2].deadline == 2.0


def test_deadline_is_the_latest_of_those_who_wait_and_none_where_one_has_none() -> None:
    early, late, patient = Waiter(1.0), Waiter(2.0), Waiter()
    row = Demand(early, late, patient)
    assert row.deadline == math.inf
    patient.leave(Unavailable("gone"))
    assert row.deadline == 2.0
    late.leave(Unavailable("gone"))
    assert row.deadline == 1.0
    assert row.error is None
    early.leave(Unavailable("gone"))
    assert isinstance(row.error, Unavailable)
