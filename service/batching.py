"""Fair batching: rows of many tenants gather while the worker is busy and leave in fair batches.

Fairness is start-time fair queueing (Goyal, Vin and Cheng, 1996): a row's start tag is the later
of the queue's virtual time and its tenant's last finish tag; its finish tag lies cost / weight
after that; rows leave by start tag. A tenant who floods only pushes his own tags into the future.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

from service.errors import (
    BackboneFailed,
    DeadlineExceeded,
    InvalidRequest,
    QueueFull,
    Unavailable,
)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What a batch may hold, and how many batches may run at once.

    Attributes:
        max_rows: rows in one batch.
        max_cost: sum of the rows' costs in one batch.
        window_seconds: how long the first row waits for company; 0 waits for nothing.
        concurrency: batches in flight.
    """

    max_rows: int
    max_cost: int
    window_seconds: float = 0.0
    concurrency: int = 1


@dataclass(slots=True)
class Row(Generic[T, R]):
    """One item on its way through a batcher; times are of the event loop's clock."""

    tenant: str
    item: T
    cost: int
    deadline: float | None
    future: asyncio.Future[R]
    enqueued: float
    start_tag: float = 0.0


class BatchObserver(Protocol):
    """Is told what a batcher does, for metrics."""

    def queued(self, change: int) -> None:
        """Rows entered (positive) or left (negative) the queue."""

    def batch_started(self, rows: int, waits: Sequence[float]) -> None:
        """A batch leaves the queue; waits are its rows' seconds in the queue."""

    def batch_ended(self, rows: int, seconds: float, error: Exception | None) -> None:
        """A batch has run."""


@dataclass(slots=True)
class _TenantQueue(Generic[T, R]):
    rows: deque[Row[T, R]] = field(default_factory=deque)
    finish_tag: float = 0.0


class FairQueue(Generic[T, R]):
    """Rows of many tenants, popped in fair order. Idle tenants take no memory."""

    def __init__(self) -> None:
        self._tenants: dict[str, _TenantQueue[T, R]] = {}
        self._heads: list[tuple[float, int, str]] = []
        self._idle: list[tuple[float, str]] = []
        self._virtual_time = 0.0
        self._sequence = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, row: Row[T, R], weight: float = 1.0) -> None:
        """Queues a row behind its tenant's others."""
        queue = self._tenants.setdefault(row.tenant, _TenantQueue())
        row.start_tag = max(self._virtual_time, queue.finish_tag)
        queue.finish_tag = row.start_tag + row.cost / weight
        queue.rows.append(row)
        self._length += 1
        if len(queue.rows) == 1:
            self._announce(row)

    def pop(self) -> Row[T, R] | None:
        """Takes the row whose turn it is, or None if the queue is empty."""
        if not self._heads:
            return None
        start_tag, _, tenant = heapq.heappop(self._heads)
        queue = self._tenants[tenant]
        row = queue.rows.popleft()
        self._length -= 1
        self._virtual_time = start_tag
        if queue.rows:
            self._announce(queue.rows[0])
        elif not self._heads:
            # The busy period is over: what a tenant used in it no longer counts against him.
            self._tenants.clear()
            self._idle.clear()
            self._virtual_time = 0.0
        else:
            heapq.heappush(self._idle, (queue.finish_tag, tenant))
        self._forget_idle()
        return row

    def peek(self) -> Row[T, R] | None:
        """The row that `pop` would take."""
        return self._tenants[self._heads[0][2]].rows[0] if self._heads else None

    def _forget_idle(self) -> None:
        """Drops tenants without rows whose finish tag has passed: it would not count any more."""
        while self._idle and self._idle[0][0] <= self._virtual_time:
            _, tenant = heapq.heappop(self._idle)
            queue = self._tenants.get(tenant)
            if queue and not queue.rows and queue.finish_tag <= self._virtual_time:
                del self._tenants[tenant]

    def _announce(self, row: Row[T, R]) -> None:
        self._sequence += 1
        heapq.heappush(self._heads, (row.start_tag, self._sequence, row.tenant))


class Admission:
    """Bounds the rows and bytes inside the pipeline before any work is done.

    The rule is the same for one row and for many: either all rows of a request fit, or none is
    admitted.
    """

    def __init__(
        self, *, per_tenant: int, total: int, max_bytes: int, retry_after: float = 0.5
    ) -> None:
        self._per_tenant = per_tenant
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._total = total
        self._retry_after = retry_after
        self._held: dict[str, int] = {}
        self._held_in_all = 0

    @contextmanager
    def hold(self, tenant: str, rows: int, nbytes: int = 0) -> Iterator[None]:
        """Holds places for `rows` rows of `nbytes` bytes together.

        Raises:
            QueueFull: with a retry hint, if they do not fit.
        """
        held = self._held.get(tenant, 0)
        if held + rows > self._per_tenant:
            raise self._full("queued rows of this tenant", self._per_tenant, held + rows)
        if self._held_in_all + rows > self._total:
            raise self._full("queued rows of all tenants", self._total, self._held_in_all + rows)
        if self._held_bytes + nbytes > self._max_bytes:
            raise self._full("queued bytes", self._max_bytes, self._held_bytes + nbytes)
        self._held[tenant] = held + rows
        self._held_in_all += rows
        self._held_bytes += nbytes
        try:
            yield
        finally:
            self._held_in_all -= rows
            self._held_bytes -= nbytes
            self._held[tenant] -= rows
            if not self._held[tenant]:
                del self._held[tenant]

    def _full(self, field_name: str, limit: int, value: int) -> QueueFull:
        return QueueFull(
            f"{field_name}: at most {limit}, would be {value}; try again later",
            field=field_name,
            limit=limit,
            value=value,
            retry_after=self._retry_after,
        )


class Batcher(Generic[T, R]):
    """Gathers rows and runs them in batches. Lives on one event loop.

    Args:
        run: takes the items of a batch and returns, in order, one result or one exception for
            each. If it raises, every row of the batch fails with BackboneFailed.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]],
        limits: BatchLimits,
        observer: BatchObserver,
    ) -> None:
        self._run = run
        self._limits = limits
        self._observer = observer
        self._queue: FairQueue[T, R] = FairQueue()
        self._arrival = asyncio.Condition()
        self._departure = asyncio.Event()
        self._closed = False
        self._workers = [
            asyncio.create_task(self._work(), name=f"batcher-{i}")
            for i in range(limits.concurrency)
        ]

    async def submit(
        self, tenant: str, item: T, *, cost: int = 1, deadline: float | None = None
    ) -> R:
        """Queues one item and waits for its result.

        A cancelled caller takes its row out of the batch that it has not entered yet.

        Raises:
            InvalidRequest: the row alone is larger than a batch may be.
            DeadlineExceeded: the deadline passed in the queue.
            BackboneFailed: the batch failed.
            Unavailable: the batcher is closed.
        """
        if self._closed:
            raise _shutting_down()
        if cost > self._limits.max_cost:
            raise InvalidRequest(
                f"input cost: at most {self._limits.max_cost} fit a batch, is {cost}",
                field="input cost",
                limit=self._limits.max_cost,
                value=cost,
            )
        loop = asyncio.get_running_loop()
        row: Row[T, R] = Row(tenant, item, cost, deadline, loop.create_future(), loop.time())
        async with self._arrival:
            self._queue.push(row)
            self._observer.queued(+1)
            self._arrival.notify()
        return await row.future

    async def room(self, rows: int) -> None:
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
        while (row := self._queue.pop()) is not None:
            self._observer.queued(-1)
            if not row.future.done():
                row.future.set_exception(_shutting_down())

    async def _work(self) -> None:
        while True:
            batch = await self._collect()
            if batch:
                await self._run_batch(batch)

    async def _collect(self) -> list[Row[T, R]]:
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self._queue) > 0)
            if self._limits.window_seconds > 0:
                await self._wait_for_company()
            return self._take()

    async def _wait_for_company(self) -> None:
        first = self._queue.peek()
        if first is None:
            return
        try:
            async with asyncio.timeout_at(first.enqueued + self._limits.window_seconds):
                await self._arrival.wait_for(lambda: len(self._queue) >= self._limits.max_rows)
        except TimeoutError:
            pass  # the window is over: whoever came, leaves

    def _take(self) -> list[Row[T, R]]:
        batch: list[Row[T, R]] = []
        cost = 0
        now = asyncio.get_running_loop().time()
        while len(batch) < self._limits.max_rows and (row := self._queue.peek()) is not None:
            alive = not row.future.done() and (row.deadline is None or row.deadline > now)
            if alive and batch and cost + row.cost > self._limits.max_cost:
                break
            self._queue.pop()
            self._observer.queued(-1)
            if alive:
                batch.append(row)
                cost += row.cost
            elif not row.future.done():
                row.future.set_exception(DeadlineExceeded("the deadline passed in the queue"))
        self._departure.set()
        return batch

    async def _run_batch(self, batch: list[Row[T, R]]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._observer.batch_started(len(batch), [started - row.enqueued for row in batch])
        error: Exception | None = None
        results: Sequence[R | Exception] = []
        try:
            results = await self._run([row.item for row in batch])
            if len(results) != len(batch):
                raise BackboneFailed(f"{len(results)} results for {len(batch)} inputs")
        except asyncio.CancelledError:
            self._fail(batch, _shutting_down)
            raise
        except Exception as raised:
            error = raised
            self._fail(batch, partial(_batch_failure, raised))
        else:
            for row, result in zip(batch, results, strict=True):
                _resolve(row.future, result)
        finally:
            self._observer.batch_ended(len(batch), loop.time() - started, error)

    @staticmethod
    def _fail(batch: Sequence[Row[T, R]], make_error: Callable[[], Exception]) -> None:
        for row in batch:
            if not row.future.done():
                row.future.set_exception(make_error())


def _shutting_down() -> Unavailable:
    return Unavailable("the server is shutting down", retry_after=1.0)


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
