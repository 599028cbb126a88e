"""Tenants use what comes in and no more, and who is refused gets in at the time that it is told."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.quotas import BURST_SECONDS, PROMISED_SECONDS, CostBucket, QuotaBook
from service.errors import QuotaExceeded
from service.store import Database
from service.store import tenants as stored_tenants
from service.store.quotas import Quotas

RATE, BURST = 10.0, 20.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def bucket() -> CostBucket:
    return CostBucket("tenants/acme", RATE, BURST, 0.0)


def named(key: str) -> Callable[[], str]:
    return lambda: key


def wait_of(bucket: CostBucket, cost: float, key: str, now: float) -> float:
    """How long a request is told to wait; 0 if it is let in."""
    try:
        bucket.take(cost, named(key), now)
    except QuotaExceeded as error:
        return error.retry_after or 0.0
    return 0.0


def test_at_95_percent_of_the_quota_nothing_is_refused() -> None:
    ours, gap = bucket(), 1 / (0.95 * RATE)
    assert not any(wait_of(ours, 1.0, str(i), i * gap) for i in range(10_000))


def test_requests_that_come_at_once_do_not_pass_together() -> None:
    ours = bucket()
    waits = [wait_of(ours, 1.0, str(i), 0.0) for i in range(30)]
    assert waits[:20] == [0.0] * 20
    assert waits[20:] == pytest.approx([0.1 * i for i in range(1, 11)])


def test_refused_request_gets_in_at_its_time_whatever_others_ask_for_meanwhile() -> None:
    ours = bucket()
    wait_of(ours, 20.0, "first", 0.0)
    wait = wait_of(ours, 10.0, "ours", 0.0)
    assert wait == pytest.approx(1.0)
    assert all(wait_of(ours, 1.0, f"other {i}", i / 10) for i in range(10))
    assert not wait_of(ours, 10.0, "ours", wait)


def test_refused_request_that_comes_early_is_told_the_time_again() -> None:
    ours = bucket()
    wait_of(ours, 20.0, "first", 0.0)
    wait_of(ours, 10.0, "ours", 0.0)
    assert wait_of(ours, 10.0, "ours", 0.5) == pytest.approx(0.5)
    assert not wait_of(ours, 10.0, "ours", 1.0)


def test_requests_that_never_come_back_leave_their_room_to_others() -> None:
    ours = bucket()
    let_in = sum(not wait_of(ours, 1.0, str(i), i / (3 * RATE)) for i in range(6000))
    assert let_in > 0.9 * RATE * 200
    assert wait_of(ours, 1.0, "one more", 200.0) < 20


def test_request_above_the_burst_waits_for_a_full_bucket_and_is_owed_for() -> None:
    ours = bucket()
    assert not wait_of(ours, 50.0, "large", 0.0)
    assert ours.state(0.0).remaining == 0.0
    assert ours.state(0.0).reset == pytest.approx(5.0)
    wait = wait_of(ours, 50.0, "another", 1.0)
    assert wait == pytest.approx(4.0)
    assert not wait_of(ours, 50.0, "another", 1.0 + wait)


def test_what_was_taken_and_not_used_is_there_again_and_no_more_than_the_burst() -> None:
    ours = bucket()
    wait_of(ours, 20.0, "first", 0.0)
    ours.give_back(15.0)
    assert ours.state(0.0) == (BURST, 2.0, 15.0, 0.5)
    ours.give_back(15.0)
    assert ours.state(0.0).remaining == BURST


@given(
    st.lists(
        st.tuples(st.floats(0.0, 2.0), st.floats(0.01, 25.0), st.booleans()),
        min_size=1,
        max_size=25,
    )
)
def test_no_more_is_used_than_came_in_and_every_promise_is_kept(
    arrivals: list[tuple[float, float, bool]],
) -> None:
    ours, now, used, largest = bucket(), 0.0, 0.0, 0.0
    events: list[tuple[float, int, float, bool, bool]] = []
    for number, (gap, cost, returns) in enumerate(arrivals):
        now += gap
        largest = max(largest, cost)
        heapq.heappush(events, (now, number, cost, returns, False))
    while events:
        now, number, cost, returns, promised = heapq.heappop(events)
        wait = wait_of(ours, cost, str(number), now)
        if wait:
            assert not promised
            if returns:
                heapq.heappush(events, (now + wait, number, cost, returns, True))
            continue
        used += cost
        # Newcomers may take what was promised to those who seldom come back, who get theirs, too.
        assert used <= BURST + RATE * (now + PROMISED_SECONDS) + 2 * largest


async def test_quotas_of_a_tenant_take_the_place_of_the_defaults_as_soon_as_they_are_set(
    database: Database,
) -> None:
    clock = Clock()
    await database.write(stored_tenants.update_quotas, "free", {"cost_per_second": 0})
    book = QuotaBook(database, Quotas(cost_per_second=1.0), clock)
    await book.start()
    assert book.rate_limit("free") is None
    state = book.rate_limit("acme")
    assert state is not None
    assert state.burst == BURST_SECONDS
    book.take("acme", 10.0, named("a"))
    with pytest.raises(QuotaExceeded):
        book.take("acme", 1.0, named("b"))
    await database.write(stored_tenants.update_quotas, "acme", {"cost_per_second": 100.0})
    clock.now = 0.5
    book.take("acme", 40.0, named("c"))
    await database.write(stored_tenants.update_quotas, "acme", {"cost_per_second": 0})
    book.take("acme", 1e9, named("c"))
    await database.write(stored_tenants.delete_tenant, "acme")
    state = book.rate_limit("acme")
    assert state is not None
    assert state.remaining == BURST_SECONDS


async def test_what_one_server_takes_another_has_less_of(database: Database) -> None:
    clock = Clock()
    books = [QuotaBook(database, Quotas(cost_per_second=1.0), clock) for _ in range(2)]
    told = asyncio.Event()

    def tell(spent: Mapping[str, float]) -> None:
        books[1].hear_of(spent)
        told.set()

    books[0].share(tell)
    books[0].take("acme", 6.0, str)
    bucket = books[0].take("acme", 3.0, str)
    assert bucket is not None
    bucket.give_back(1.0)
    await told.wait()
    left = books[1].rate_limit("acme")
    assert left is not None
    assert left.remaining == pytest.approx(2.0)
    with pytest.raises(QuotaExceeded):
        books[1].take("acme", 3.0, str)
