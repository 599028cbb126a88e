"""Fair batching: rows gather while the worker is busy, and leave in fair batches."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from service.concurrency.demand import Demand, Waiter
from service.concurrency.fair_queue import FairQueue, Rank, Row
from service.errors import (
    BackboneFailed,
    DeadlineExceeded,
    InvalidRequest,
    TooLate,
    Unavailable,
)
from service.extraction.pace import Pace
from service.logs import get_logger

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What a batch may hold, and how many batches may run at once.

    Attributes:
        max_rows: rows in one batch.
        max_cost: sum of the rows' costs in one batch.
        window_seconds: how long the first row waits for company; 0 waits for nothing.
        concurrency: batches that run at once.
        turn_rows, turn_cost: of one request, before it is another tenant's turn.
    """

    max_rows: int
    max_cost: int
    window_seconds: float = 0.0
    concurrency: int = 1
    turn_rows: int = 1
    turn_cost: float = math.inf


TURN_ROWS = 16
"""Rows of one request that leave before it is another tenant's turn."""
PASS_MARGIN = 1.1
"""Passes differ: a row must have this much more time than they take on average."""

log = get_logger(__name__)


class BatchObserver(Protocol):
    """Records what a batcher does, for metrics."""

    def queued(self, change: int) -> None:
        """Records how many rows entered (positive) or left (negative) the queue."""

    def batch_started(self, rows: int, waits: Sequence[float]) -> None:
        """Records that a batch left the queue; `waits` are its rows' seconds in there."""

    def batch_ended(self, rows: int, seconds: float, error: Exception | None) -> None:
        """Records that a batch has run, for how long, and the error if it failed."""


class Batcher(Generic[T, R]):
    """Gathers rows and runs them in batches. Lives on one event loop.

    Args:
        run: takes the items of a batch and returns, in order, one result or one exception for
            each. If it raises, every row of the batch fails with BackboneFailed.
        semaphore: is acquired for each batch, which is gathered only then; batchers that share a
            device share it. One of `limits.concurrency` if there is none.
        until_room: is awaited before each batch is taken, for room behind it.
        seconds_needed: takes a row's request and the seconds of its batch, and returns the seconds
            until the request is done.

    Attributes:
        pace: of batches, from the end of one to the end of the next.
        passes: of batches, from their start to their end.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]],
        limits: BatchLimits,
        observer: BatchObserver,
        semaphore: asyncio.Semaphore | None = None,
        until_room: Callable[[], Awaitable[None]] | None = None,
        seconds_needed: Callable[[object, float], float] = lambda request, seconds: seconds,
    ) -> None:
        self.pace = Pace()
        self.passes = Pace()
        self._run = run
        self._until_room = until_room
        self._seconds_needed = seconds_needed
        self._semaphore = semaphore or asyncio.Semaphore(limits.concurrency)
        self._limits = limits
        self._observer = observer
        self._queue: FairQueue[T, R] = FairQueue(limits.turn_rows, limits.turn_cost)
        self._arrival = asyncio.Event()
        self._departure = asyncio.Event()
        self._closed = False
        self._workers = [
            asyncio.create_task(self._work(), name=f"batcher-{i}")
            for i in range(limits.concurrency)
        ]

    async def submit(
        self,
        tenant: str,
        item: T,
        *,
        cost: int = 1,
        work: int | None = None,
        deadline: float | None = None,
        demand: Demand | None = None,
        request: object = None,
        rank: Rank = Rank.IN_TURN,
    ) -> R:
        """Queues one item and waits for its result.

        The row of a caller who is cancelled enters no batch.

        Args:
            cost: what it takes of a batch and of its tenant's share.
            work: what it counts for in the pace; the cost if left out.
            demand: until when it is wanted; takes the place of `deadline`.
            request: what it belongs to.
            rank: whether it waits for its tenant's others and the turn under way.

        Raises:
            InvalidRequest: the row alone is larger than a batch may be.
            DeadlineExceeded: the deadline passed in the queue.
            TooLate: it would pass before the row is done.
            BackboneFailed: the batch failed.
            Unavailable: the batcher is closed.
        """
        if self._closed:
            raise _closed()
        if cost > self._limits.max_cost:
            raise InvalidRequest.at(
                "input cost", "at most {limit} fit a batch, is {value}", self._limits.max_cost, cost
            )
        loop = asyncio.get_running_loop()
        demand = demand or Demand(Waiter(deadline))
        if demand.error is not None:
            raise demand.error
        row: Row[T, R] = Row(tenant, item, cost, demand, loop.create_future(), loop.time())
        row.work, row.request = cost if work is None else work, request
        row.rank = rank
        demand.queued(row.future)
        self._queue.push(row)
        self._observer.queued(+1)
        self._arrival.set()
        try:
            return await row.future
        except asyncio.CancelledError:
            del row.item  # the row waits for its turn to be dropped, without what it held
            raise

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return len(self._queue)

    def ahead(self, tenant: str, request: object, rank: Rank) -> tuple[int, int]:
        """Returns rows that wait and go before the next one of a request, and their work."""
        return self._queue.ahead(tenant, request, rank)

    async def wait_for_room(self, rows: int) -> None:
        """Waits until fewer than `rows` rows wait."""
        while len(self._queue) >= rows:
            self._departure.clear()
            await self._departure.wait()

    async def close(self) -> None:
        """Stops the workers and fails what still waits."""
        self._closed = True
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._fail(self._empty(), _closed)

    async def _work(self) -> None:
        while True:
            batch: list[Row[T, R]] = []
            try:
                await self._gather()
                turn = asyncio.get_running_loop().time()
                async with self._semaphore:  # while others have it, rows gather
                    self._take(batch)
                    if batch:
                        await self._run_batch(batch, turn)
            except Exception as error:  # else those who wait would wait for ever, and all to come
                log.exception("the queue failed: its rows are refused, and it goes on")
                self._fail([*batch, *self._empty()], partial(_batch_failure, error))

    async def _gather(self) -> None:
        """Returns when a batch is to be taken."""
        await self._until_waiting(1)
        if self._limits.window_seconds > 0:
            await self._wait_for_company()
        if self._until_room is not None:
            await self._until_room()

    def _empty(self) -> Iterator[Row[T, R]]:
        """Takes all rows that wait."""
        while (row := self._queue.pop()) is not None:
            self._observer.queued(-1)
            yield row

    async def _until_waiting(self, rows: int) -> None:
        while len(self._queue) < rows:
            self._arrival.clear()
            await self._arrival.wait()

    async def _wait_for_company(self) -> None:
        first = self._queue.peek()
        if first is None:
            return
        try:
            async with asyncio.timeout_at(first.enqueued + self._limits.window_seconds):
                await self._until_waiting(self._limits.max_rows)
        except TimeoutError:
            pass  # the window is over: what has come is run

    def _take(self, batch: list[Row[T, R]]) -> None:
        """Fills a batch with rows that will be done before their deadlines."""
        now = asyncio.get_running_loop().time()
        while True:
            self._fill(batch)
            seconds = self.passes.seconds(len(batch), sum(row.work for row in batch), now) or 0.0
            for row in batch:
                if _deadline(row) <= now:
                    _drop(row, DeadlineExceeded("the deadline passed in the queue"))
                elif _deadline(row) < now + self._seconds_needed(
                    row.request, PASS_MARGIN * seconds
                ):
                    _drop(row, TooLate("the deadline would pass before the row is done"))
            left = [row for row in batch if not row.future.done()]
            if len(left) == len(batch):
                break
            batch[:] = left
        self._departure.set()

    def _fill(self, batch: list[Row[T, R]]) -> None:
        """Adds to a batch those next in turn who are waited for, as many as it holds."""
        cost = sum(row.cost for row in batch)
        while len(batch) < self._limits.max_rows and (row := self._queue.peek()) is not None:
            wanted = not row.future.done()
            if wanted and batch and cost + row.cost > self._limits.max_cost:
                break
            self._queue.pop()
            if wanted:
                batch.append(row)
                cost += row.cost
            self._observer.queued(-1)

    async def _run_batch(self, batch: list[Row[T, R]], turn: float) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        full = len(batch) == self._limits.max_rows or len(self._queue) > 0
        self._observer.batch_started(len(batch), [started - row.enqueued for row in batch])
        error: Exception | None = None
        results: Sequence[R | Exception] = []
        try:
            results = await self._run([row.item for row in batch])
            if len(results) != len(batch):
                raise BackboneFailed(f"{len(results)} results for {len(batch)} inputs")
        except asyncio.CancelledError:
            self._fail(batch, _closed)
            raise
        except Exception as raised:
            error = raised
            self._fail(batch, partial(_batch_failure, raised))
        else:
            for row, result in zip(batch, results, strict=True):
                _resolve(row.future, result)
            now, work = loop.time(), sum(row.work for row in batch)
            self.pace.record(len(batch), work, now - turn, now, full=full)
            self.passes.record(len(batch), work, now - started, now, full=full)
        finally:
            self._observer.batch_ended(len(batch), loop.time() - started, error)

    @staticmethod
    def _fail(batch: Iterable[Row[T, R]], make_error: Callable[[], Exception]) -> None:
        for row in batch:
            if not row.future.done():
                row.future.set_exception(make_error())


def _deadline(row: Row[T, R]) -> float:
    return math.inf if row.demand is None else row.demand.deadline


def _drop(row: Row[T, R], error: Exception) -> None:
    """Gives a row up, and with it all others of those who waited for it."""
    if row.demand is not None:
        row.demand.drop(error)


def _closed() -> Unavailable:
    return Unavailable(
        "no more inputs are taken: the server is shutting down, or the backbone was unloaded",
        retry_after=1.0,
    )


def _batch_failure(cause: Exception) -> BackboneFailed:
    failure = BackboneFailed("the backbone failed on this batch")
    failure.__cause__ = cause
    return failure


def _resolve(future: asyncio.Future[R], result: R | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
