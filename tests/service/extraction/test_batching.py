"""Rows go in, batches leave, and every row gets its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BackboneFailed, DeadlineExceeded, InvalidRequest, NotFound, Unavailable
from service.extraction.batching import Batcher, BatchLimits
from tests.service.waiting import Changes

LIMITS = BatchLimits(max_rows=4, max_cost=100)


class Watcher(Changes):
    """An observer that counts what the batcher reports."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = 0
        self.depth = 0
        self.waits: list[float] = []
        self.ended: list[tuple[int, Exception | None]] = []

    def queued(self, change: int) -> None:
        self.depth += change
        self.arrived += max(change, 0)
        self.notify()

    def batch_started(self, rows: int, waits: Sequence[float]) -> None:
        assert rows == len(waits)
        self.waits.extend(waits)

    def batch_ended(self, rows: int, seconds: float, error: Exception | None) -> None:
        self.ended.append((rows, error))


class Line:
    """A worker whose batches end when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.changes = Changes()
        self._go = asyncio.Semaphore(0)
        self.outcome: Exception | list[str | Exception] | None = None

    async def run(self, items: Sequence[str]) -> Sequence[str | Exception]:
        self.batches.append(list(items))
        self.changes.notify()
        await self._go.acquire()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome is not None:
            return self.outcome
        return [item.upper() for item in items]

    def let_go(self, batches: int = 1) -> None:
        for _ in range(batches):
            self._go.release()

    async def until_batches(self, count: int) -> None:
        await self.changes.until(lambda: len(self.batches) >= count)


class Bench:
    """A batcher with its worker and its observer."""

    def __init__(self, limits: BatchLimits) -> None:
        self.line = Line()
        self.watcher = Watcher()
        self.batcher: Batcher[str, str] = Batcher(self.line.run, limits, self.watcher)

    def submit(
        self, item: str, tenant: str = "t", cost: int = 1, deadline: float | None = None
    ) -> asyncio.Task[str]:
        return asyncio.create_task(self.batcher.submit(tenant, item, cost=cost, deadline=deadline))

    async def queue(self, *items: str, tenant: str = "t", cost: int = 1) -> list[asyncio.Task[str]]:
        """Submits rows and waits until they are in the queue."""
        wanted = self.watcher.arrived + len(items)
        tasks = [self.submit(item, tenant, cost) for item in items]
        await self.watcher.until(lambda: self.watcher.arrived == wanted)
        return tasks

    async def occupy(self) -> asyncio.Task[str]:
        """Sends a first row, alone, that keeps the worker busy until it is let go."""
        task = self.submit("first", "someone")
        await self.line.until_batches(1)
        return task


@asynccontextmanager
async def bench(limits: BatchLimits = LIMITS) -> AsyncIterator[Bench]:
    made = Bench(limits)
    try:
        yield made
    finally:
        await made.batcher.close()
        assert made.watcher.depth == 0


async def test_row_gets_its_own_result() -> None:
    async with bench() as b:
        b.line.let_go(10)
        rows = await b.queue("a", "b", "c")
        assert await asyncio.gather(*rows) == ["A", "B", "C"]


async def test_first_row_leaves_alone_and_later_ones_gather_while_the_worker_is_busy() -> None:
    async with bench() as b:
        _ = await b.occupy()
        _ = await b.queue("a", "b", "c")
        b.line.let_go()
        await b.line.until_batches(2)
        assert b.line.batches == [["first"], ["a", "b", "c"]]


async def test_batch_holds_at_most_max_rows() -> None:
    async with bench() as b:
        _ = await b.occupy()
        rows = await b.queue(*"abcdefghij")
        b.line.let_go(10)
        await asyncio.gather(*rows)
        assert [len(batch) for batch in b.line.batches] == [1, 4, 4, 2]


async def test_batch_holds_at_most_max_cost() -> None:
    async with bench() as b:
        _ = await b.occupy()
        rows = await b.queue(*"abcde", cost=40)
        b.line.let_go(10)
        await asyncio.gather(*rows)
        assert [len(batch) for batch in b.line.batches] == [1, 2, 2, 1]


async def test_row_of_exactly_max_cost_is_run() -> None:
    async with bench() as b:
        b.line.let_go()
        assert await b.submit("a", cost=100) == "A"


async def test_row_that_can_never_fit_is_refused_at_once() -> None:
    async with bench() as b:
        _ = await b.occupy()
        with pytest.raises(InvalidRequest, match="at most 100 fit a batch, is 101") as caught:
            await b.submit("a", cost=101)
        assert (caught.value.field, caught.value.limit, caught.value.value) == (
            "input cost",
            100,
            101,
        )
        assert b.watcher.arrived == 1


async def test_lone_row_leaves_when_its_window_ends() -> None:
    async with bench(BatchLimits(4, 100, window_seconds=0.001)) as b:
        b.line.let_go()
        assert await b.submit("a") == "A"


async def test_window_closes_when_the_batch_is_full() -> None:
    async with bench(BatchLimits(3, 100, window_seconds=3600)) as b:
        rows = await b.queue("a", "b")
        assert b.line.batches == []
        rows += await b.queue("c")
        b.line.let_go()
        assert await asyncio.gather(*rows) == ["A", "B", "C"]
        assert b.line.batches == [["a", "b", "c"]]


async def test_several_batches_run_at_once_where_that_is_wanted() -> None:
    async with bench(BatchLimits(1, 100, concurrency=3)) as b:
        rows = await b.queue("a", "b", "c", "d")
        await b.line.until_batches(3)
        assert sorted(b.line.batches) == [["a"], ["b"], ["c"]]
        b.line.let_go(4)
        assert await asyncio.gather(*rows) == ["A", "B", "C", "D"]


async def test_one_row_leaves_within_two_batches_behind_a_flood() -> None:
    async with bench(BatchLimits(16, 10_000)) as b:
        first = await b.occupy()
        flood = await b.queue(*(f"a{i}" for i in range(1000)), tenant="a")
        b.line.let_go()
        await b.line.until_batches(2)
        (quiet,) = await b.queue("quiet", tenant="b")
        b.line.let_go(2)
        await b.line.until_batches(3)
        assert "quiet" in b.line.batches[2]
        b.line.let_go(100)
        await asyncio.gather(first, quiet, *flood)


async def test_error_of_a_batch_reaches_each_of_its_rows_and_no_other() -> None:
    async with bench() as b:
        first = await b.occupy()
        rows = await b.queue("a", "b")
        b.line.let_go()
        assert await first == "FIRST"
        await b.line.until_batches(2)
        b.line.outcome = ValueError("secret detail")
        b.line.let_go()
        outcomes = await asyncio.gather(*rows, return_exceptions=True)
        assert all(isinstance(outcome, BackboneFailed) for outcome in outcomes)
        assert outcomes[0] is not outcomes[1]
        assert all("secret" not in str(outcome) for outcome in outcomes)
        b.line.outcome = None
        b.line.let_go()
        assert await b.submit("c") == "C"
        assert [(rows, type(error)) for rows, error in b.watcher.ended] == [
            (1, type(None)),
            (2, ValueError),
            (1, type(None)),
        ]


async def test_error_of_one_row_costs_that_row_alone() -> None:
    async with bench() as b:
        _ = await b.occupy()
        rows = await b.queue("a", "b", "c")
        b.line.let_go()
        await b.line.until_batches(2)
        b.line.outcome = ["A", NotFound("b is unknown"), "C"]
        b.line.let_go()
        outcomes = await asyncio.gather(*rows, return_exceptions=True)
        assert outcomes[0] == "A"
        assert isinstance(outcomes[1], NotFound)
        assert outcomes[2] == "C"


class Faulty(Watcher):
    """An observer with a fault."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def _fail_once(self, at: str) -> None:
        if at == self._at:
            self._at = ""
            raise ZeroDivisionError("a fault in the server")

    def queued(self, change: int) -> None:
        super().queued(change)
        if change < 0:
            self._fail_once("taken")

    def batch_started(self, rows: int, waits: Sequence[float]) -> None:
        self._fail_once("started")

    def batch_ended(self, rows: int, seconds: float, error: Exception | None) -> None:
        self._fail_once("ended")


@pytest.mark.parametrize("at", ["taken", "started", "ended"])
async def test_fault_around_a_batch_fails_those_who_wait_and_nobody_after_them(at: str) -> None:
    async def run(items: Sequence[str]) -> Sequence[str | Exception]:
        return list(items)

    batcher: Batcher[str, str] = Batcher(run, LIMITS, Faulty(at))
    async with asyncio.timeout(30):
        waiting = [batcher.submit("t", item) for item in "abcdef"]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert any(isinstance(answer, BackboneFailed) for answer in answers)
        assert await batcher.submit("t", "later") == "later"
    await batcher.close()


@pytest.mark.parametrize("results", [[], ["x"], ["x", "y", "z"]])
async def test_wrong_number_of_results_fails_the_batch_and_leaks_none(results: list[str]) -> None:
    async with bench() as b:
        _ = await b.occupy()
        rows = await b.queue("a", "b")
        b.line.let_go()
        await b.line.until_batches(2)
        b.line.outcome = [*results]
        b.line.let_go()
        outcomes = await asyncio.gather(*rows, return_exceptions=True)
        assert all(isinstance(outcome, BackboneFailed) for outcome in outcomes)


async def test_cancelled_row_is_never_run_and_does_not_stall_its_batch() -> None:
    async with bench() as b:
        _ = await b.occupy()
        a, c, e = await b.queue("a", "c", "e")
        c.cancel()
        await asyncio.gather(c, return_exceptions=True)
        b.line.let_go(2)
        assert [*await asyncio.gather(a, e)] == ["A", "E"]
        assert b.line.batches[1] == ["a", "e"]


async def test_row_cancelled_while_its_batch_runs_does_not_disturb_its_mates() -> None:
    async with bench() as b:
        _ = await b.occupy()
        a, c = await b.queue("a", "c")
        b.line.let_go()
        await b.line.until_batches(2)
        a.cancel()
        await asyncio.gather(a, return_exceptions=True)
        b.line.let_go()
        assert await c == "C"


async def test_cancelled_rows_take_no_places_in_a_batch() -> None:
    async with bench() as b:
        _ = await b.occupy()
        rows = await b.queue(*"abcdefgh")
        for row in rows[:4]:
            row.cancel()
        await asyncio.gather(*rows[:4], return_exceptions=True)
        b.line.let_go(2)
        assert await asyncio.gather(*rows[4:]) == list("EFGH")
        assert b.line.batches[1] == [*"efgh"]


async def test_expired_row_is_dropped_when_its_turn_comes() -> None:
    async with bench() as b:
        _ = await b.occupy()
        late = b.submit("late", deadline=asyncio.get_running_loop().time())
        await b.watcher.until(lambda: b.watcher.arrived == 2)
        (fine,) = await b.queue("fine")
        b.line.let_go(2)
        assert await fine == "FINE"
        with pytest.raises(DeadlineExceeded):
            await late
        assert b.line.batches[1:] == [["fine"]]


async def test_closing_answers_rows_that_wait_and_rows_that_run() -> None:
    b = Bench(LIMITS)
    running = await b.occupy()
    waiting = await b.queue("a", "b", "c", "d", "e", "f")
    await b.batcher.close()
    for row in (running, *waiting):
        with pytest.raises(Unavailable) as caught:
            await row
        assert caught.value.retry_after is not None
    assert b.watcher.depth == 0
    with pytest.raises(Unavailable):
        await b.batcher.submit("t", "late")


async def test_closing_twice_changes_nothing() -> None:
    b = Bench(LIMITS)
    rows = [await b.occupy(), *await b.queue("a", "b", "c")]
    await b.batcher.close()
    before = (b.watcher.depth, list(b.watcher.ended))
    await b.batcher.close()
    assert (b.watcher.depth, b.watcher.ended) == before == (0, [(1, None)])
    late = asyncio.create_task(b.batcher.submit("t", "late"))
    for row in (*rows, late):
        await asyncio.sleep(0)
        assert isinstance(row.exception(), Unavailable)


ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 12), st.sampled_from(["ok", "row", "cancel"])),
    max_size=40,
)


@given(rows=ROWS, broken=st.sets(st.integers(0, 8)))
def test_every_row_is_answered_once_whatever_happens(
    rows: list[tuple[str, int, str]], broken: set[int]
) -> None:
    async def scenario() -> None:
        limits = BatchLimits(max_rows=5, max_cost=20)
        seen: list[int] = []
        batches = 0
        costs = [cost for _, cost, _ in rows]

        async def run(items: Sequence[int]) -> Sequence[int | Exception]:
            nonlocal batches
            batches += 1
            assert 0 < len(items) <= 5
            assert sum(costs[i] for i in items) <= 20
            seen.extend(items)
            if batches in broken:
                raise ValueError("broken")
            return [NotFound("row") if rows[i][2] == "row" else i for i in items]

        watcher = Watcher()
        batcher: Batcher[int, int] = Batcher(run, limits, watcher)
        tasks = [
            asyncio.create_task(batcher.submit(tenant, i, cost=cost))
            for i, (tenant, cost, _) in enumerate(rows)
        ]
        await watcher.until(lambda: watcher.arrived == len(rows))
        for task, (_, _, fate) in zip(tasks, rows, strict=True):
            if fate == "cancel":
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert len(seen) == len(set(seen))
        for i, (outcome, (_, _, fate)) in enumerate(zip(outcomes, rows, strict=True)):
            if fate == "cancel":
                assert isinstance(outcome, (asyncio.CancelledError, BackboneFailed)) or outcome == i
            elif fate == "row":
                assert isinstance(outcome, (NotFound, BackboneFailed))
            else:
                assert outcome == i or isinstance(outcome, BackboneFailed)
        assert watcher.depth == 0
        await batcher.close()

    asyncio.run(scenario())
