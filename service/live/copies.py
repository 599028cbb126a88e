"""Live copies in memory, bounded in bytes, and what follows from what they learn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ParamSpec, TypeVar

import adapters
from service.completion import Completion
from service.config import ServerSettings
from service.errors import NotFound, PreconditionFailed
from service.live.learning import LiveCopy, Policy, Rules
from service.live.promotion import make_version
from service.live.status import LiveState, LiveStatus, status_of
from service.loaded_heads import LoadedHead, LoadedHeads
from service.logs import get_logger
from service.metrics import Metrics
from service.store import Database, example_sets
from service.store import heads as stored_heads
from service.store import live as stored_live
from service.store.heads import HeadRecord
from service.store.live import LiveFeedback, LiveSet

P = ParamSpec("P")
R = TypeVar("R")

ENTRY_BYTES = 1000
"""Of a head that is remembered without a copy; a generous guess."""

log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Entry:
    """What is in memory of one head. Whoever holds the lock brings it up to date.

    Attributes:
        changed: how often what the copy stands on was changed by others than the copy.
        acknowledged: how often feedback was stored.
        seen: the two numbers above that the copy is up to date with.
        copy: None where there can be none, and `reason` says why.
        users: who holds on to this entry, so that it must stay in memory.
    """

    uid: str
    tenant: str
    changed: int = 0
    acknowledged: int = 0
    seen: tuple[int, int] = (-1, -1)
    copy: LiveCopy | None = None
    reason: str = ""
    drift_at: float | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None
    users: int = 0
    nbytes: int = ENTRY_BYTES

    @property
    def stamp(self) -> tuple[int, int]:
        return self.changed, self.acknowledged

    def has_seen(self, stamp: tuple[int, int]) -> bool:
        return self.seen[0] >= stamp[0] and self.seen[1] >= stamp[1]

    def outdate(self) -> None:
        self.changed += 1
        self.copy = None


class LiveCopies:
    """Gives live copies that have learned all feedback that was acknowledged.

    The store is the queue: feedback that is live and has no score is learned next, also after a
    restart. A copy is a pure function of what is stored, so it can be dropped from memory at any
    time and is made anew when it is needed. Learning of one head is serial, under its entry's
    lock; heads do not wait for one another, and the event loop for none.

    `outdate` must follow every commit that changes which version of a head is active, its policy,
    or the examples that its live copy stands on.
    """

    def __init__(
        self,
        database: Database,
        loaded: LoadedHeads,
        completion: Completion,
        settings: ServerSettings,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._loaded = loaded
        self._completion = completion
        self._settings = settings
        self._metrics = metrics
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0
        self._copies = 0
        self._pool = ThreadPoolExecutor(settings.live_threads, thread_name_prefix="live")

    def note(self, head: HeadRecord) -> None:
        """Feedback of the head was stored; the copy learns it now."""
        entry = self._entry(head.uid, head.tenant)
        entry.acknowledged += 1
        self._wake(entry)

    def outdate(self, uid: str) -> None:
        """What the copy stands on has changed; it is made anew when it is needed."""
        if (entry := self._entries.get(uid)) is not None:
            entry.outdate()
            self._weigh(entry)

    async def forget(self, uid: str) -> None:
        """Outdates the copy, and waits until nothing of it is in memory any more."""
        self.outdate(uid)
        if (entry := self._entries.get(uid)) is not None:
            with self._using(entry):
                async with entry.lock:
                    pass

    async def serving(self, loaded: LoadedHead) -> LoadedHead:
        """What answers for a head whose live copy serves: that, or else the active version."""
        entry = await self._current(loaded.uid, loaded.tenant)
        copy = entry.copy
        if copy is None or copy.head is None:
            return loaded
        return replace(loaded, version=copy.version, head=copy.head, live=True)

    async def status(self, head: HeadRecord) -> LiveStatus:
        """How the live copy stands, all acknowledged feedback learned."""
        entry = await self._current(head.uid, head.tenant)
        if entry.copy is not None:
            return status_of(entry.copy, entry.drift_at)
        state = LiveState.UNAVAILABLE if entry.reason else LiveState.IDLE
        base = head.active_version
        return LiveStatus(state, self._settings.live_error_rate, entry.reason, base)

    async def promote(self, head: HeadRecord) -> int:
        """Makes a version of the live copy and activates it; returns its number.

        Raises:
            PreconditionFailed: there is no copy that could answer.
        """
        return await self._completion.run(self._promote(head))

    async def drop(self, head: HeadRecord) -> int:
        """Drops the live copy; returns how much feedback went into quarantine.

        Raises:
            PreconditionFailed: there is no copy.
        """
        return await self._completion.run(self._drop(head))

    async def close(self) -> None:
        """Stops learning; what was not learned is learned after the next start."""
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def _promote(self, head: HeadRecord) -> int:
        entry = self._entry(head.uid, head.tenant)
        with self._using(entry):
            async with entry.lock:
                await self._catch_up(entry)
                copy = entry.copy
                if copy is None or copy.head is None:
                    raise _no_copy(head, entry.reason)
                stored = await self._database.read(stored_live.live_set, entry.uid)
                return await self._take_over(entry, copy, stored)

    async def _drop(self, head: HeadRecord) -> int:
        entry = self._entry(head.uid, head.tenant)
        with self._using(entry):
            async with entry.lock:
                await self._catch_up(entry)
                if entry.copy is None:
                    raise _no_copy(head, entry.reason)
                return await self._give_up(entry, entry.copy)

    def _entry(self, uid: str, tenant: str) -> _Entry:
        entry = self._entries.get(uid)
        if entry is None:
            entry = self._entries[uid] = _Entry(uid, tenant)
            self._bytes += entry.nbytes
        self._entries.move_to_end(uid)
        return entry

    async def _current(self, uid: str, tenant: str) -> _Entry:
        """The head's entry, up to date with all that was acknowledged before the call."""
        entry = self._entry(uid, tenant)
        wanted = entry.stamp
        with self._using(entry):
            while not entry.has_seen(wanted):
                self._wake(entry)
                assert entry.task is not None
                await asyncio.shield(entry.task)
        return entry

    def _wake(self, entry: _Entry) -> None:
        """Sees to it that somebody is bringing the entry up to date."""
        if entry.task is None or entry.task.done():
            entry.users += 1
            entry.task = asyncio.create_task(self._work(entry), name=f"live-{entry.uid}")
            entry.task.add_done_callback(lambda _: self._let_go(entry))

    async def _work(self, entry: _Entry) -> None:
        async with entry.lock:
            await self._catch_up(entry)

    @contextmanager
    def _using(self, entry: _Entry) -> Iterator[None]:
        entry.users += 1
        try:
            yield
        finally:
            self._let_go(entry)

    def _let_go(self, entry: _Entry) -> None:
        entry.users -= 1
        self._weigh(entry)

    async def _catch_up(self, entry: _Entry) -> None:
        """Learns until nothing is left that was acknowledged; the lock must be held."""
        while entry.seen != entry.stamp:
            stamp = entry.stamp
            try:
                await self._advance(entry)
            except NotFound:
                log.info("head was deleted while its live copy learned", head=entry.uid)
                entry.copy, entry.reason = None, "the head was deleted"
            except Exception:
                log.exception("live copy failed; it will be made anew", head=entry.uid)
                self._metrics.live_failures.labels(self._metrics.tenant(entry.tenant)).inc()
                entry.copy, entry.reason = None, "learning failed; see the server's log"
            entry.seen = stamp

    async def _advance(self, entry: _Entry) -> None:
        """Learns what is in the store, and does what follows."""
        changed = entry.changed
        copy, entry.copy = entry.copy, None  # what fails half-way must not be used
        if copy is None or copy.worn:
            stored = await self._database.read(stored_live.live_set, entry.uid)
            copy = await self._build(entry, stored)
            feedback: list[LiveFeedback] | None = stored.feedback
        else:
            feedback = await self._database.read(
                stored_live.newer_feedback, entry.uid, copy.version, copy.through
            )
        if copy is None:
            return
        if feedback is None or not await self._learn(entry, copy, feedback):
            entry.outdate()
            return
        if entry.changed != changed:
            return
        entry.copy = copy
        if copy.rules.policy is Policy.GATED:
            await self._decide(entry, copy)

    async def _build(self, entry: _Entry, stored: LiveSet) -> LiveCopy | None:
        head = stored.head
        entry.reason, entry.drift_at = "", head.drift_at
        if stored.weights is None:
            return None
        rules = Rules(
            Policy(head.policy), self._settings.live_error_rate, self._settings.drift_delta
        )
        try:
            return await self._compute(_build, stored, stored.weights, rules)
        except adapters.InvalidArgument as error:
            entry.reason = f"version {head.active_version} cannot be followed: {error}"
            return None

    async def _learn(self, entry: _Entry, copy: LiveCopy, feedback: list[LiveFeedback]) -> bool:
        """Whether the copy is still good after it has learned."""
        new = [item for item in feedback if not item.learned]
        if not new:
            return True
        learned = await self._compute(copy.learn, new)
        stored = await self._database.write(
            stored_live.store_scores,
            entry.uid,
            copy.version,
            learned.scores,
            learned.changed_at,
        )
        if not stored:
            return False
        tenant = self._metrics.tenant(entry.tenant)
        self._metrics.feedback_learned.labels(tenant).inc(len(learned.scores))
        if learned.changed_at is not None:
            self._metrics.drifts.labels(tenant).inc()
            log.info("drift detected", head=entry.uid, tenant=entry.tenant)
            return False
        return True

    async def _decide(self, entry: _Entry, copy: LiveCopy) -> None:
        if copy.gate.worse:
            await self._give_up(entry, copy)
        elif copy.gate.wants_comparison and copy.head is not None:
            stored = await self._database.read(stored_live.live_set, entry.uid)
            if entry.copy is not copy:
                return
            comparison = await self._compute(copy.compare, stored.members, stored.feedback)
            if copy.gate.note(comparison) and entry.copy is copy:
                await self._take_over(entry, copy, stored)

    async def _take_over(self, entry: _Entry, copy: LiveCopy, stored: LiveSet) -> int:
        """Makes a version of a copy and activates it."""
        base = await self._database.read(stored_heads.get_version, entry.uid, copy.version)
        tests = await self._database.read(example_sets.held_out_set, entry.uid)
        made = await self._compute(make_version, copy, stored, base.report, tests)
        version = await self._database.write(
            stored_live.promote_live,
            entry.uid,
            copy.version,
            through=copy.through,
            new=made,
        )
        self._loaded.forget(stored.head.resource)
        entry.outdate()
        self._metrics.promotions.labels(self._metrics.tenant(entry.tenant)).inc()
        log.info("live copy took over", head=stored.head.resource, version=version)
        return version

    async def _give_up(self, entry: _Entry, copy: LiveCopy) -> int:
        """Drops a copy; its feedback goes into quarantine."""
        count = await self._database.write(stored_live.drop_live, entry.uid, copy.version)
        entry.outdate()
        self._metrics.drops.labels(self._metrics.tenant(entry.tenant)).inc()
        log.info("live copy dropped", head=entry.uid, tenant=entry.tenant, quarantined=count)
        return count

    async def _compute(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def _weigh(self, entry: _Entry) -> None:
        """Keeps the books, and drops what was not used for longest and nobody is using."""
        if self._entries.get(entry.uid) is not entry:
            return
        copy_bytes = 0 if entry.copy is None else entry.copy.nbytes
        self._copies += (copy_bytes > 0) - (entry.nbytes > ENTRY_BYTES)
        self._bytes += ENTRY_BYTES + copy_bytes - entry.nbytes
        entry.nbytes = ENTRY_BYTES + copy_bytes
        if self._bytes > self._settings.live_cache_bytes:
            self._evict()
        self._metrics.live_copies.set(self._copies)
        self._metrics.live_bytes.set(self._bytes)

    def _evict(self) -> None:
        for uid, entry in list(self._entries.items()):
            if self._bytes <= self._settings.live_cache_bytes:
                return
            if not entry.users:
                del self._entries[uid]
                self._bytes -= entry.nbytes
                self._copies -= entry.nbytes > ENTRY_BYTES


def _build(stored: LiveSet, weights: bytes, rules: Rules) -> LiveCopy:
    head = stored.head
    active = adapters.Head.from_safetensors(weights)
    changed = head.drift_feedback_id is not None
    return LiveCopy(
        head.active_version, active, stored.members, stored.feedback, rules, changed=changed
    )


def _no_copy(head: HeadRecord, reason: str) -> PreconditionFailed:
    why = f": {reason}" if reason else ""
    return PreconditionFailed(
        f"head: {head.resource} has no live copy{why}", field="head", value=head.resource
    )
