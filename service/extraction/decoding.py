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

import models
from service.errors import DeadlineExceeded
from service.extraction.batching import Batcher, BatchLimits, BatchObserver
from service.metrics import DecodeObserver, Metrics
from service.requests.inputs import RawInput

T = TypeVar("T")
R = TypeVar("R")

DECODE_ROWS = 4
"""Rows that a decoding thread takes at once, if they wait: fewer hops between threads."""
SLOW_NS = 200_000_000
"""What takes longer is slow, and rows that a thread takes at once take no longer together. A photo
of 12 megapixels takes some 150 ms where all of its pixels are wanted."""


class DecodeThreads:
    """The threads in which inputs are decoded, of all backbones and of whatever else decodes.

    Attributes:
        count: threads for what is quick.
    """

    def __init__(self, count: int = 0) -> None:
        """Takes half of the cores for a count of 0."""
        self.count = count or max(1, (os.cpu_count() or 1) // 2)
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
    deadline: float | None
    cancelled: bool = False


class DecodeQueue(Generic[T, R]):
    """Decodes items in fair order. Lives on one event loop.

    Args:
        decode: decodes one item, in a thread. What it raises is its row's own error.
        wait_for_room: is awaited before rows are decoded.
    """

    def __init__(
        self,
        decode: Callable[[T], R],
        threads: DecodeThreads,
        observer: BatchObserver,
        wait_for_room: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._decode = decode
        self._wait_for_room = wait_for_room
        self._quick: Batcher[_Row[T], R] = Batcher(
            partial(self._run, threads.quick),
            BatchLimits(max_rows=DECODE_ROWS, max_cost=SLOW_NS, concurrency=threads.count),
            observer,
        )
        self._slow: Batcher[_Row[T], R] = Batcher(
            partial(self._run, threads.slow),
            BatchLimits(max_rows=1, max_cost=sys.maxsize),
            observer,
        )

    async def submit(self, tenant: str, item: T, *, cost: int, deadline: float | None) -> R:
        """Decodes one item.

        An item whose caller is cancelled, or whose deadline has passed, is not begun.

        Args:
            cost: nanoseconds that it takes.

        Raises:
            DeadlineExceeded: the deadline passed before it was begun.
            Unavailable: the queue is closed.
            Exception: whatever `decode` raises.
        """
        row = _Row(item, deadline)
        batcher = self._quick if cost <= SLOW_NS else self._slow
        try:
            return await batcher.submit(tenant, row, cost=cost, deadline=deadline)
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
        if self._wait_for_room is not None:
            await self._wait_for_room()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            executor, lambda: [self._decode_if_wanted(row, loop.time) for row in batch]
        )

    def _decode_if_wanted(self, row: _Row[T], now: Callable[[], float]) -> R | Exception:
        """Looks again whether somebody waits: the rows before may have taken long."""
        if row.cancelled or (row.deadline is not None and row.deadline <= now()):
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


def cost_of(raw: RawInput) -> int:
    """Returns the nanoseconds that decoding an image, pixels or a text takes."""
    return models.decode_cost(cast("models.RawInput", raw.content))
