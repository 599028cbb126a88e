"""Decoding in threads: what is quick in several of them, what is slow in one of its own.

A picture of few bytes may take seconds. So the queues count in what decoding takes, told from the
header (`models.decode_cost`), and what is slow holds none of the threads that other rows need; it
is decoded one at a time in the whole process, whatever asks for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

from service.concurrency.demand import Demand, Waiter
from service.concurrency.fair_queue import Rank
from service.errors import DeadlineExceeded
from service.extraction.batching import TURN_ROWS, Batcher, BatchLimits, BatchObserver
from service.extraction.forecast import Stage
from service.logs import get_logger
from service.metrics import DecodeObserver, Metrics

log = get_logger(__name__)

T = TypeVar("T")
R = TypeVar("R")

DECODE_ROWS = 4
"""Rows that a decoding thread takes at once, if they wait: fewer hops between threads."""
SLOW_NS = 200_000_000
"""What takes longer is slow. Rows that a thread takes at once, or that are a request's turn, take
no longer together. A photo of 12 megapixels takes some 150 ms where all its pixels are wanted."""


class DecodeThreads:
    """The threads in which inputs are decoded, of all backbones and of whatever else decodes.

    Attributes:
        count: threads for what is quick.
    """

    def __init__(self, count: int = 0) -> None:
        """Takes half of the cores for a count of 0; logs how many there are."""
        self.count = count or max(1, (os.cpu_count() or 1) // 2)
        log.info("decode threads", count=self.count, slow=1)
        self.quick = ThreadPoolExecutor(self.count, thread_name_prefix="decode")
        self.slow = ThreadPoolExecutor(1, thread_name_prefix="decode-slow")

    def close(self) -> None:
        """Begins nothing more; what is being decoded ends by itself."""
        for executor in (self.quick, self.slow):
            executor.shutdown(wait=False, cancel_futures=True)


@dataclass(eq=False, slots=True)
class _Row(Generic[T]):
    """What is to be decoded, as long as somebody waits for it."""

    item: T
    demand: Demand
    cancelled: bool = False


class DecodeQueue(Generic[T, R]):
    """Decodes items in fair order. Lives on one event loop.

    Args:
        decode: decodes one item, in a thread. What it raises is its row's own error.
        until_room, seconds_needed: as of a `Batcher`. If the latter is left out, only what is too
            late already is dropped.
    """

    def __init__(
        self,
        decode: Callable[[T], R],
        threads: DecodeThreads,
        observer: BatchObserver,
        until_room: Callable[[], Awaitable[None]] | None = None,
        seconds_needed: Callable[[object, float], float] = lambda request, seconds: 0.0,
    ) -> None:
        self._decode = decode
        self._threads = threads
        self._quick: Batcher[_Row[T], R] = Batcher(
            partial(self._run, threads.quick),
            BatchLimits(
                max_rows=DECODE_ROWS,
                max_cost=SLOW_NS,
                concurrency=threads.count,
                turn_rows=TURN_ROWS,
                turn_cost=SLOW_NS,
            ),
            observer,
            until_room=until_room,
            seconds_needed=seconds_needed,
        )
        self._slow: Batcher[_Row[T], R] = Batcher(
            partial(self._run, threads.slow),
            BatchLimits(max_rows=1, max_cost=sys.maxsize),
            observer,
            until_room=until_room,
            seconds_needed=seconds_needed,
        )

    def stages(self) -> tuple[Stage, Stage]:
        """Returns what forecasts count in: the stage of what is quick, and that of what is slow."""
        return (
            Stage(self._quick.pace, self._threads.count, DECODE_ROWS, TURN_ROWS),
            Stage(self._slow.pace, 1, 1, apart=True),
        )

    async def submit(
        self,
        tenant: str,
        item: T,
        *,
        cost: int,
        deadline: float | None = None,
        demand: Demand | None = None,
        request: object = None,
        rank: Rank = Rank.IN_TURN,
    ) -> R:
        """Decodes one item.

        An item whose caller is cancelled, whose deadline has passed, or that nobody wants any more
        is not begun.

        Args:
            cost: nanoseconds that it takes.
            demand, request, rank: as of `Batcher.submit`.

        Raises:
            DeadlineExceeded: the deadline passed before it was begun.
            TooLate: it would pass before the row is done.
            Unavailable: the queue is closed.
            Exception: whatever `decode` raises.
        """
        demand = demand or Demand(Waiter(deadline))
        row = _Row(item, demand)
        batcher = self._slow if is_slow(cost) else self._quick
        try:
            return await batcher.submit(
                tenant, row, cost=cost, demand=demand, request=request, rank=rank
            )
        except asyncio.CancelledError:
            row.cancelled = True
            raise

    async def close(self) -> None:
        """Fails what waits."""
        await self._quick.close()
        await self._slow.close()

    async def _run(
        self, executor: ThreadPoolExecutor, batch: Sequence[_Row[T]]
    ) -> Sequence[R | Exception]:
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(
            executor, lambda: [self._decode_if_wanted(row, loop.time) for row in batch]
        )
        for row, result in zip(batch, results, strict=True):
            if isinstance(result, DeadlineExceeded):
                row.demand.drop(result)  # and with it the other rows of its request
        return results

    def _decode_if_wanted(self, row: _Row[T], now: Callable[[], float]) -> R | Exception:
        """Looks again whether somebody waits: the rows before may have taken long."""
        if row.cancelled or row.demand.deadline <= now():
            return DeadlineExceeded("the deadline passed before the input was decoded")
        try:
            return self._decode(row.item)
        except Exception as error:  # the row's own error, whatever it is
            return error


class DecodeCalls:
    """Runs functions that decode an input for something else than a backbone, such as its views.

    Lives on one event loop from its first use on.
    """

    def __init__(self, threads: DecodeThreads, metrics: Metrics) -> None:
        self._threads = threads
        self._observer = DecodeObserver(metrics, "none")
        self._queue: DecodeQueue[Callable[[], Any], Any] | None = None

    async def run(
        self, tenant: str, function: Callable[[], R], *, cost: int, deadline: float | None
    ) -> R:
        """Runs a function in a thread, when it is its tenant's turn; see `DecodeQueue.submit`."""
        if self._queue is None:
            self._queue = DecodeQueue(lambda function: function(), self._threads, self._observer)
        result = await self._queue.submit(tenant, function, cost=cost, deadline=deadline)
        return cast("R", result)

    async def close(self) -> None:
        """Fails what waits."""
        if self._queue is not None:
            await self._queue.close()


def is_slow(cost: int) -> bool:
    """Returns whether what takes so many nanoseconds is decoded apart."""
    return cost > SLOW_NS
