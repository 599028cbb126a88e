"""What tenants use, counted in memory and stored every few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from service.concurrency.tasks import UninterruptedTasks
from service.errors import OutcomeUnknown, ServiceError
from service.logs import get_logger
from service.store import Database
from service.store import usage as stored_usage
from service.store.changes import Changed
from service.store.usage import HOUR, Used

STORE_SECONDS = 10.0
"""As many seconds of counts a crash loses at most."""

MAX_COUNTS = 50_000
"""Tenants and hours that are counted while nothing can be stored; what comes after is not."""

_DAY = 86_400

log = get_logger(__name__)


class UsageCounter:
    """Counts by tenant and hour.

    Args:
        days: for which it is kept.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        tasks: UninterruptedTasks,
        days: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._tasks, self._days, self._clock = database, tasks, days, clock
        self._counts: dict[tuple[str, int], Used] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._full = False
        database.follow(self._forget_gone)

    def of(self, tenant: str) -> Used:
        """Returns what a tenant has used within this hour and is not stored yet, to be added to."""
        key = (tenant, int(self._clock()) // HOUR * HOUR)
        used = self._counts.get(key)
        if used is None:
            used = Used()
            if len(self._counts) < MAX_COUNTS:
                self._counts[key] = used
            elif not self._full:
                self._full = True
                log.error("usage is not counted: it could not be stored for long")
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(STORE_SECONDS, self._store_soon)
        return used

    async def store(self) -> None:
        """Stores what was counted; where that fails it is kept for the next time."""
        self._timer = None
        counts, self._counts = self._counts, {}
        if not counts:
            return
        keep_from = int(self._clock()) - self._days * _DAY
        try:
            await self._database.write(stored_usage.add_usage, counts, keep_from)
            self._full = False
        except OutcomeUnknown as error:  # once too few is better than twice
            log.warning("usage may be lost", tenants=len(counts), reason=error.message)
        except ServiceError as error:
            log.warning("usage is not stored yet", tenants=len(counts), reason=error.message)
            for key, used in counts.items():
                used += self._counts.get(key, Used())
                self._counts[key] = used

    async def close(self) -> None:
        """Stores what is left."""
        if self._timer is not None:
            self._timer.cancel()
        await self.store()

    def _store_soon(self) -> None:
        self._tasks.start(self.store())

    def _forget_gone(self, changed: Changed) -> None:
        for key in [key for key in self._counts if key[0] in changed.gone]:
            del self._counts[key]
