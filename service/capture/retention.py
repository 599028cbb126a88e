"""The end of captured inputs: they go when they expire, and what is left of drawn ones later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from service.concurrency.tasks import UninterruptedTasks
from service.errors import ServiceError
from service.logs import get_logger
from service.metrics import Metrics
from service.store import Database
from service.store import captures as stored_captures
from service.store.captures import HOUR

RECORD_DAYS = 400
"""For which it is kept what became of inputs that were drawn at random."""
AT_ONCE = 200
"""Rows in one transaction: others' writes come between two of them."""

_DAY = 24 * HOUR

log = get_logger(__name__)


class CaptureRetention:
    """Removes what has expired, at the start and every hour; one process of a store does.

    Args:
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        tasks: UninterruptedTasks,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._tasks, self._metrics, self._clock = database, tasks, metrics, clock
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Removes what has expired, now and every hour."""
        self._tasks.start(self.remove())
        self._timer = asyncio.get_running_loop().call_later(HOUR, self.start)

    def close(self) -> None:
        """Ends the removal."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    async def remove(self) -> None:
        """Removes what has expired, and says how much it was."""
        now = self._clock()
        try:
            await self._repeat("expired", lambda: self._expire(now))
            await self._repeat("old", lambda: self._delete(now - RECORD_DAYS * _DAY))
        except ServiceError as error:  # the next hour is another try
            log.warning("expired captures not removed", reason=error.message)

    async def _expire(self, now: float) -> int:
        return await self._database.write(stored_captures.expire_captures, now, AT_ONCE)

    async def _delete(self, before: float) -> int:
        return await self._database.write(stored_captures.delete_old_records, before, AT_ONCE)

    async def _repeat(self, why: str, remove: Callable[[], Awaitable[int]]) -> None:
        removed, more = 0, True
        while more and not self._closed:
            gone = await remove()
            self._metrics.captures_removed.labels(why).inc(gone)
            removed += gone
            more = gone == AT_ONCE
        if removed:
            log.info("captured inputs were removed", why=why, rows=removed)
