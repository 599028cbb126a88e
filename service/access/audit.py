"""The audit log: what was changed, and who was refused, by which key.

A row has names and ids alone. What a call carries is in none: no input, no text, no label, no key.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import grpc

from service.access.audit_file import AuditFile
from service.concurrency.tasks import UninterruptedTasks
from service.errors import ServiceError, is_hidden, status_of
from service.logs import get_logger, hide_keys
from service.metrics import Metrics
from service.store import Database
from service.store import audit as stored_audit
from service.store.audit import AuditRow

BURST = 600
"""Refusals that are kept at once of each tenant, and of all who show no good key."""
PER_SECOND = 1.0
"""Refusals that are kept in the long run: some 20 MB a day of each, under an attack that lasts."""
MAX_WAITING = 10_000
"""Refusals that wait for the disk."""

HOUR = 3600.0
DAY = 24 * HOUR
DELETED_AT_ONCE = 1000
"""Old rows in one transaction: others' writes come between two of them."""

MAX_RESOURCE = 256
_RESOURCE = re.compile(r"[A-Za-z0-9_.@-]{1,63}(/[A-Za-z0-9_.@-]{1,63}){1,7}")

_REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

log = get_logger(__name__)


def is_refusal(error: BaseException) -> bool:
    """Returns whether an error refuses access, be it in the guise of a thing that is missing."""
    return status_of(error).code in _REFUSALS or is_hidden(error)


def safe_name(text: str) -> str:
    """Returns the name of a resource as it may be kept: what is no such name may be a secret."""
    if len(text) > MAX_RESOURCE or not _RESOURCE.fullmatch(text):
        return ""
    return hide_keys(text)


@dataclass(slots=True)
class _Allowance:
    """How many refusals may still be kept of one source, and how many were not."""

    at: float
    left: float = BURST
    dropped: int = 0

    def take(self, now: float) -> bool:
        self.left = min(BURST, self.left + max(0.0, now - self.at) * PER_SECOND)
        self.at = now
        if self.left < 1:
            self.dropped += 1
            return False
        self.left -= 1
        return True


class Audit:
    """Keeps rows in the store, and in a file if there is one; removes old ones from the store.

    Args:
        wanted: whether calls are noted now.
        retention_days: after which a row goes.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        tasks: UninterruptedTasks,
        metrics: Metrics,
        *,
        wanted: Callable[[], bool],
        retention_days: int,
        file: AuditFile | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._tasks, self._metrics = database, tasks, metrics
        self._wanted, self._retention, self._file = wanted, retention_days * DAY, file
        self._clock = clock
        self._allowances: dict[str, _Allowance] = {}
        self._waiting: list[AuditRow] = []
        self._storing = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def wanted(self) -> bool:
        """Whether calls are noted now."""
        return self._wanted()

    def now(self) -> float:
        """Returns the time of a row."""
        return self._clock()

    def start(self) -> None:
        """Removes old rows, now and every hour."""
        self._tasks.start(self._remove_old())
        self._timer = asyncio.get_running_loop().call_later(HOUR, self.start)

    async def note(self, row: AuditRow) -> None:
        """Keeps a row; returns when it is on the disk, or is lost, which is counted and logged."""
        await self._tasks.run(self._store([row]))

    def note_later(self, row: AuditRow) -> None:
        """Keeps a row that nobody waits for."""
        self._tasks.start(self._store([row]))

    def note_refusal(self, row: AuditRow) -> None:
        """Keeps a refusal, unless too many come at once: those are counted.

        Each tenant has an allowance, so that none hides what another does, and all who show no good
        key have one together: else whoever reaches the port could fill the disk.
        """
        source = row.tenant if row.key else ""
        now = self._clock()
        allowance = self._allowances.setdefault(source, _Allowance(now))
        if len(self._waiting) >= MAX_WAITING or not allowance.take(now):
            self._metrics.audit_lost.labels("rate").inc()
            return
        self._waiting.append(replace(row, dropped=allowance.dropped))
        allowance.dropped = 0
        if not self._storing:
            self._storing = True
            self._tasks.start(self._store_waiting())

    def close(self) -> None:
        """Ends the removal of old rows; the file has what was noted before."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    async def close_file(self) -> None:
        """Waits until the file has all rows, unless its disk hangs."""
        if self._file is not None:
            await asyncio.to_thread(self._file.close)

    async def _store_waiting(self) -> None:
        try:
            while self._waiting:
                rows, self._waiting = self._waiting, []
                await self._store(rows)
        finally:
            self._storing = False

    async def _store(self, rows: list[AuditRow]) -> None:
        try:
            await self._database.write(stored_audit.add_audit_rows, rows)
            self._metrics.audit_rows.inc(len(rows))
        except ServiceError as error:
            self._metrics.audit_lost.labels("store").inc(len(rows))
            for row in rows:
                log.error("audit row not stored", reason=error.message, **asdict(row))
        if self._file is not None:
            self._file.add(rows)

    async def _remove_old(self) -> None:
        before, removed, more = self._clock() - self._retention, 0, True
        try:
            while more and not self._closed:
                gone = await self._database.write(
                    stored_audit.delete_audit_rows, before, DELETED_AT_ONCE
                )
                removed += gone
                more = gone == DELETED_AT_ONCE
        except ServiceError as error:  # the next hour is another try
            log.warning("old audit rows not removed", reason=error.message)
        if removed:
            log.info("old audit rows were removed", rows=removed)
