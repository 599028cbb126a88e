"""Inputs on their way into the store: taken while a request is answered, written after it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from adapters import Head
from service.capture.rules import CaptureRules
from service.capture.sampling import ALWAYS, RANDOM, Sampler, ScoredRows
from service.concurrency.tasks import UninterruptedTasks
from service.embedding.resolved import Resolved
from service.errors import NotFound, ServiceError, StorageQuotaExceeded
from service.logs import get_logger
from service.metrics import Metrics
from service.requests.inputs import Kind, RawInput
from service.store import Database
from service.store import captures as stored_captures
from service.store.captures import HOUR, CaptureBounds, Kept, NewCapture
from service.store.changes import Changed

MAX_WAITING = 1000
"""Rows that wait to be written."""
WRITE_SECONDS = 0.1
"""What is taken waits so long for more, and for the replies to be sent."""
BATCH_ROWS = 64
"""Rows in one transaction."""
MAX_SEEN = 10_000
"""Inputs that rules have taken within the hour, each of which they take once."""
TOP = 10
"""Classes of an answer that are kept."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a version, or the live copy that moved on from it, said of some rows of a request.

    Attributes:
        fingerprint: of the embeddings that it takes.
    """

    uid: str
    tenant: str
    version: int
    live: bool
    rules: CaptureRules
    head: Head
    fingerprint: str
    rows: ScoredRows


@dataclass(frozen=True, slots=True)
class TakenRow:
    """An input with its embedding, and what the caller says of it."""

    raw: RawInput
    resolved: Resolved
    external_id: str = ""
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A row that waits to be written."""

    uid: str
    tenant: str
    rules: CaptureRules
    reason: str
    row: TakenRow
    new: NewCapture

    @property
    def size(self) -> int:
        return self.row.raw.cost

    def with_input(self) -> NewCapture:
        raw, message = self.row.raw, None
        if raw.kind not in (Kind.DIGEST, Kind.EMBEDDING):
            message = raw.to_message().SerializeToString()
        return replace(self.new, input=message)


class Captures:
    """Takes rows of the traffic as heads' rules say, and writes them into the store.

    A request waits for draws, comparisons and a place in a queue, and for no lock and no disk. What
    does not fit into the queue is counted; what a crash loses of it is not. The quota of an hour is
    kept in the store, where all servers count together; each process takes no more than all of it.

    It follows the database: what is forgotten meanwhile is not written.

    Args:
        max_bytes: of the inputs that wait.
        seed: of the draws; None for other ones every time.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        tasks: UninterruptedTasks,
        metrics: Metrics,
        max_bytes: int,
        *,
        seed: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._tasks, self._metrics = database, tasks, metrics
        self._max_bytes, self._clock = max_bytes, clock
        self._sampler = Sampler(seed)
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: list[_Waiting] = []
        self._withdrawn: list[_Waiting] = []
        self._hour = 0.0
        self._taken: dict[str, list[int]] = {}
        self._seen: set[tuple[str, str]] = set()
        self._deletions = 0
        database.follow(self._follow)

    @property
    def deletions(self) -> int:
        """How often inputs were deleted: an input that came before the last time may be gone."""
        return self._deletions

    def offer(
        self, answers: Answers, row: Callable[[int], TakenRow], deletions: int, *, asked: bool
    ) -> None:
        """Takes those of the rows that the head's rules choose.

        Args:
            row: gives the input at a place among the rows.
            deletions: as it was when the inputs came; if it is another now they may be of what was
                forgotten since, and none is taken.
            asked: whether the request asks for all of them.
        """
        if asked:
            for place in range(len(answers.rows.order)):
                self._take(answers, place, ALWAYS, row, deletions)
            return
        for place, reason in self._sampler.choose(answers.rules, answers.head, answers.rows):
            self._take(answers, place, reason, row, deletions)

    async def store(self) -> None:
        """Writes all that waits."""
        self._timer = None
        while self._waiting:
            if self._writing:  # somebody else does
                return
            count = min(BATCH_ROWS, len(self._waiting))
            self._writing = [self._waiting.popleft() for _ in range(count)]
            self._bytes -= sum(item.size for item in self._writing)
            try:
                by_head: dict[str, list[_Waiting]] = {}
                for item in self._writing:
                    by_head.setdefault(item.uid, []).append(item)
                for uid, items in by_head.items():
                    await self._store_of(uid, items)
                await self._withdraw()
            finally:
                self._writing = []

    async def close(self) -> None:
        """Writes what is left."""
        if self._timer is not None:
            self._timer.cancel()
        await self.store()

    def _take(
        self,
        answers: Answers,
        place: int,
        reason: str,
        row: Callable[[int], TakenRow],
        deletions: int,
    ) -> None:
        taken = row(place)
        now = self._clock()
        why = self._refusal(answers, reason, taken, now)
        if deletions != self._deletions:
            why = "deleted"
        if why:
            self._metrics.captures_lost.labels(why).inc()
            return
        new = _new_capture(answers, place, reason, taken, now)
        item = _Waiting(answers.uid, answers.tenant, answers.rules, reason, taken, new)
        self._waiting.append(item)
        self._bytes += taken.raw.cost
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_SECONDS, self._store_soon)

    def _refusal(self, answers: Answers, reason: str, taken: TakenRow, now: float) -> str:
        """Returns why a row is not taken, and counts it in its hour if it is: then that is ""."""
        if len(self._waiting) >= MAX_WAITING or self._bytes + taken.raw.cost > self._max_bytes:
            return "queue"
        hour = now // HOUR * HOUR
        if hour != self._hour:
            self._hour = hour
            self._taken.clear()
            self._seen.clear()
        key = (answers.uid, taken.raw.digest)
        if reason not in (RANDOM, ALWAYS) and key in self._seen:
            return "waiting"
        counts, bounds = self._taken.setdefault(answers.uid, [0, 0]), answers.rules.bounds
        if sum(counts) >= bounds.per_hour or (reason != RANDOM and counts[1] >= bounds.by_rules):
            return "hour"
        counts[reason != RANDOM] += 1
        if len(self._seen) < MAX_SEEN:
            self._seen.add(key)
        return ""

    def _store_soon(self) -> None:
        self._tasks.start(self.store())

    async def _store_of(self, uid: str, items: Sequence[_Waiting]) -> None:
        lost = self._metrics.captures_lost
        bounds = items[-1].rules.bounds
        try:
            kept = await self._database.write(_store, uid, items, bounds)
        except StorageQuotaExceeded:
            lost.labels("tenant").inc(len(items))
        except NotFound:
            lost.labels("deleted").inc(len(items))
        except ServiceError as error:
            lost.labels("store").inc(len(items))
            log.warning("captured inputs were not stored", rows=len(items), reason=error.message)
        else:
            self._count(items, kept)

    def _count(self, items: Sequence[_Waiting], kept: Kept) -> None:
        metrics = self._metrics
        tenant = metrics.tenant(items[0].tenant)
        for place in kept.stored:
            metrics.captures.labels(items[place].reason, tenant).inc()
        for why, count in (("waiting", kept.waiting), ("hour", kept.over_quota)):
            metrics.captures_lost.labels(why).inc(count)
        left = len(items) - len(kept.stored) - kept.waiting - kept.over_quota
        metrics.captures_lost.labels("off").inc(left)
        if kept.removed:
            metrics.captures_removed.labels("room").inc(kept.removed)
            log.info(
                "captured inputs made room for others",
                tenant=items[0].tenant,
                head_uid=items[0].uid,
                rows=kept.removed,
            )

    async def _withdraw(self) -> None:
        """Deletes what was written of inputs that were deleted while it was."""
        while self._withdrawn:
            ids = [item.new.id for item in self._withdrawn]
            self._withdrawn = []
            try:
                await self._database.write(stored_captures.withdraw_captures, ids)
            except ServiceError as error:
                log.error("captured inputs are left", rows=len(ids), reason=error.message)

    def _follow(self, changed: Changed) -> None:
        if not (changed.needed or changed.gone or changed.outdated or changed.everything):
            return
        self._deletions += 1
        self._withdrawn += [item for item in self._writing if _is_gone(item, changed)]
        left = [item for item in self._waiting if not _is_gone(item, changed)]
        if len(left) < len(self._waiting):
            self._metrics.captures_lost.labels("deleted").inc(len(self._waiting) - len(left))
            self._waiting = deque(left)
            self._bytes = sum(item.size for item in left)


def _is_gone(item: _Waiting, changed: Changed) -> bool:
    """Returns whether a change may have deleted an input from where it was kept."""
    if changed.everything or item.tenant in changed.gone | changed.outdated:
        return True
    return item.new.digest in changed.needed.get(item.tenant, {})


def _new_capture(
    answers: Answers, place: int, reason: str, taken: TakenRow, now: float
) -> NewCapture:
    """Says what is kept of a row, but for its input, which need not be copied yet."""
    rows, drawn = answers.rows, reason == RANDOM
    shares = rows.probabilities[place]
    return NewCapture(
        id=uuid.uuid4().hex,
        version=answers.version,
        live=answers.live,
        digest=taken.raw.digest,
        kind=taken.resolved.kind.value,
        reason=reason,
        chance=answers.rules.share * answers.rules.random_share if drawn else None,
        answer=[(rows.labels[i], float(shares[i])) for i in rows.order[place][:TOP]],
        margin=rows.margin(place),
        novelty=None if rows.novelty is None else float(rows.novelty[place]),
        vector=taken.resolved.vector,
        fingerprint=answers.fingerprint,
        truncated=taken.resolved.truncated,
        input=None,
        created_at=now,
        external_id=taken.external_id,
        metadata=taken.metadata or {},
    )


def _store(
    connection: Connection, uid: str, items: Sequence[_Waiting], bounds: CaptureBounds
) -> Kept:
    """Stores a head's rows; the inputs are serialised here, off the event loop."""
    new = [item.with_input() for item in items]
    return stored_captures.store_captures(connection, uid, new, bounds)
