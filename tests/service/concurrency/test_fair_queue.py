"""The order in which rows of many tenants leave."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from service.concurrency.fair_queue import FairQueue, Rank, Row

TENANTS = ("a", "b", "c")

Item = tuple[str, int]


class Name(str):
    """A tenant's name whose end can be observed."""


def row(tenant: str, item: int, cost: int = 1) -> Row[Item, None]:
    future: asyncio.Future[None] = asyncio.Future(loop=_LOOP)
    return Row(tenant, (str(tenant), item), cost, None, future, 0.0)


_LOOP = asyncio.new_event_loop()
_LOOP.close()  # futures need one to belong to; nothing here runs on it


def push_all(queue: FairQueue[Item, None], tenant: str, rows: int, cost: int = 1) -> None:
    for item in range(rows):
        queue.push(row(tenant, item, cost))


def pop_tenants(queue: FairQueue[Item, None], rows: int) -> list[str]:
    popped = []
    for _ in range(rows):
        taken = queue.pop()
        assert taken is not None
        popped.append(taken.tenant)
    return popped


def test_empty_queue_gives_nothing() -> None:
    queue: FairQueue[Item, None] = FairQueue()
    assert queue.pop() is None
    assert queue.peek() is None
    assert len(queue) == 0


def test_row_of_newcomer_overtakes_the_backlog_of_a_flood() -> None:
    queue: FairQueue[Item, None] = FairQueue()
    push_all(queue, "flood", 1000)
    pop_tenants(queue, 10)
    queue.push(row("quiet", 0))
    assert "quiet" in pop_tenants(queue, 2)


def test_two_backlogged_tenants_alternate() -> None:
    queue: FairQueue[Item, None] = FairQueue()
    push_all(queue, "a", 50)
    push_all(queue, "b", 50)
    popped = pop_tenants(queue, 60)
    assert all(set(popped[i : i + 2]) == {"a", "b"} for i in range(0, 60, 2))


def test_expensive_rows_leave_in_proportion_to_their_cost() -> None:
    queue: FairQueue[Item, None] = FairQueue()
    push_all(queue, "cheap", 100, cost=1)
    push_all(queue, "dear", 100, cost=10)
    counts = Counter(pop_tenants(queue, 55))
    assert 45 <= counts["cheap"] <= 51
    assert 4 <= counts["dear"] <= 10


def test_idle_time_earns_no_credit() -> None:
    queue: FairQueue[Item, None] = FairQueue()
    queue.push(row("late", 0))
    push_all(queue, "steady", 200)
    pop_tenants(queue, 100)
    push_all(queue, "late", 100)
    counts = Counter(pop_tenants(queue, 20))
    assert counts["late"] <= 11


def test_tenants_that_left_take_no_memory_while_another_stays_busy() -> None:
    queue: FairQueue[Item, None] = FairQueue()
    push_all(queue, "busy", 1000)
    passing = []
    for i in range(200):
        name = Name(f"passing-{i}")
        passing.append(weakref.ref(name))
        queue.push(row(name, i))
        del name
        pop_tenants(queue, 2)
    pop_tenants(queue, 10)
    gc.collect()
    assert len(queue) > 0
    assert sum(reference() is not None for reference in passing) <= 1


def test_tenants_take_no_memory_once_the_queue_is_empty() -> None:
    queue: FairQueue[Item, None] = FairQueue()
    name = Name("gone")
    reference = weakref.ref(name)
    queue.push(row(name, 0))
    del name
    assert queue.pop() is not None
    gc.collect()
    assert reference() is None


# An arrival (tenant, cost), or None to take a row.
EVENTS = st.lists(
    st.one_of(st.tuples(st.sampled_from(TENANTS), st.integers(1, 20)), st.none()), max_size=120
)


@given(EVENTS)
def test_no_row_is_lost_or_duplicated_and_a_tenants_rows_keep_their_order(
    events: list[tuple[str, int] | None],
) -> None:
    queue: FairQueue[Item, None] = FairQueue()
    pushed: list[Item] = []
    popped: list[Item] = []
    for event in events:
        if event is not None:
            tenant, cost = event
            pushed.append((tenant, len(pushed)))
            queue.push(row(tenant, len(pushed) - 1, cost))
        else:
            expected = queue.peek()
            taken = queue.pop()
            assert taken is expected
            if taken is not None:
                popped.append(taken.item)
        assert len(queue) == len(pushed) - len(popped)
    while (taken := queue.pop()) is not None:
        popped.append(taken.item)
    assert sorted(popped) == sorted(pushed)
    for tenant in TENANTS:
        mine = [item for item in popped if item[0] == tenant]
        assert mine == [item for item in pushed if item[0] == tenant]


@given(EVENTS)
def test_share_of_two_backlogged_tenants_differs_by_at_most_one_row_of_each(
    events: list[tuple[str, int] | None],
) -> None:
    """Theorem 1 of the paper, all weights equal: |W_f - W_m| <= l_f + l_m."""
    queue: FairQueue[Item, None] = FairQueue()
    waiting: Counter[str] = Counter()
    work = dict.fromkeys(TENANTS, 0.0)
    largest = dict.fromkeys(TENANTS, 0.0)
    for event in events:
        if event is not None:
            largest[event[0]] = max(largest[event[0]], event[1])
    gaps: dict[tuple[str, str], list[float]] = {
        pair: [] for pair in itertools.combinations(TENANTS, 2)
    }
    for event in [*events, *[None] * len(events)]:
        if event is not None:
            tenant, cost = event
            queue.push(row(tenant, 0, cost))
            waiting[tenant] += 1
        elif (taken := queue.pop()) is not None:
            waiting[taken.tenant] -= 1
            work[taken.tenant] += taken.cost
        for (f, m), seen in gaps.items():
            if not waiting[f] or not waiting[m]:
                seen.clear()
                continue
            seen.append(work[f] - work[m])
            assert max(seen) - min(seen) <= largest[f] + largest[m] + 1e-9


@given(
    st.lists(
        st.one_of(
            st.none(), st.tuples(st.sampled_from(TENANTS), st.integers(1, 5), st.sampled_from(Rank))
        ),
        max_size=40,
    ),
    st.sampled_from(TENANTS),
    st.sampled_from(Rank),
)
def test_what_is_ahead_of_a_row_leaves_before_it_and_nothing_else(
    steps: list[tuple[str, int, Rank] | None], tenant: str, rank: Rank
) -> None:
    queue: FairQueue[Item, None] = FairQueue()
    for i, step in enumerate(steps):
        if step is None:
            queue.pop()
            continue
        other, cost, other_rank = step
        pushed = row(other, i, cost)
        pushed.rank, pushed.work = other_rank, 10 * cost
        queue.push(pushed)
    rows, work = queue.ahead(tenant, None, rank)
    last = row(tenant, -1)
    last.rank = rank
    queue.push(last)
    before = list(itertools.takewhile(lambda taken: taken is not last, iter(queue.pop, None)))
    assert (rows, work) == (len(before), sum(taken.work for taken in before))


def test_row_that_goes_at_once_waits_for_no_turn_nor_for_its_tenants_others() -> None:
    queue: FairQueue[Item, None] = FairQueue(turn_rows=16)
    for tenant in ("a", "b"):
        request = object()
        for item in range(16):
            pushed = row(tenant, item)
            pushed.request = request
            queue.push(pushed)
    pop_tenants(queue, 3)
    promised = row("b", 99)
    promised.rank = Rank.AT_ONCE
    queue.push(promised)
    assert queue.pop() is promised
    assert pop_tenants(queue, 29) == ["a"] * 13 + ["b"] * 16
