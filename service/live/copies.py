"""Keeps live copies up to date with all feedback that was acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from functools import partial

from adapters import Acceptance
from service.concurrency.tasks import UninterruptedTasks
from service.config import ServerSettings
from service.embedding.backfill import EmbeddingBackfill
from service.errors import (
    Aborted,
    NotFound,
    PreconditionFailed,
    ServiceError,
    StoredDataDamaged,
    is_expected,
)
from service.live.cache import CachedCopy, LiveCache, Snapshot
from service.live.live_copy import LiveCopy
from service.live.policy import Policy
from service.live.status import LiveStatus
from service.live.steps import Steps
from service.logs import get_logger
from service.metrics import Metrics
from service.serving.head_cache import LoadedHead
from service.store import Database
from service.store import live_set as stored_live
from service.store.changes import Changed
from service.store.head_records import HeadRecord
from service.store.live_outcomes import MadeVersion

ATTEMPTS = 5
"""Attempts to get hold of a copy that nobody changes at the same time."""

log = get_logger(__name__)


class LiveCopies:
    """Gives live copies that have learned all feedback that was acknowledged.

    The store is the queue: feedback that is live and has no score is learned next, also after a
    restart. A copy follows from what is stored (a logistic one to within its solver's tolerance),
    so it can be dropped from memory at any time and is made anew when it is needed. Learning of
    one head is serial, in steps, each under its entry's lock; what waits for the lock gets it
    between them. A caller gets its snapshot as soon as what was acknowledged before is learned,
    however much comes meanwhile. Heads do not wait for one another, and the event loop for none.

    It follows the database: a copy that is built on what a write has changed is dropped, and one
    whose head has new feedback learns it.

    Servers that share a store may hold a copy of the same head each. Whoever is first scores
    feedback, promotes or drops; the others take that from the store.

    Args:
        is_ours: whether feedback of a head, by its uid, is learned here as soon as it comes; of
            another it is when somebody asks.
    """

    def __init__(
        self,
        database: Database,
        backfill: EmbeddingBackfill,
        tasks: UninterruptedTasks,
        settings: ServerSettings,
        metrics: Metrics,
        is_ours: Callable[[str], bool] = lambda uid: True,
    ) -> None:
        self._is_ours = is_ours
        self._database = database
        self._tasks = tasks
        self._entries = LiveCache(settings.live_cache_bytes, metrics)
        self._steps = Steps(database, backfill, settings, metrics)
        self._leftovers: asyncio.Task[None] | None = None
        self._closed = False
        self._context = copy_context()
        database.follow(self._follow)

    async def start(self) -> None:
        """Learns what the last server left unlearned, one head after the other, beside the rest."""
        try:
            heads = await self._database.read(stored_live.heads_with_unscored)
        except StoredDataDamaged:
            log.exception("live copies learn what is left only when they are needed")
            return
        self._leftovers = asyncio.create_task(self._learn_leftovers(heads), name="live-leftovers")

    def learn_left_soon(self) -> None:
        """Learns what was another server's to learn, which is gone."""
        if not self._closed and (self._leftovers is None or self._leftovers.done()):
            self._leftovers = asyncio.create_task(self._learn_left(), name="live-leftovers")

    async def _learn_left(self) -> None:
        try:
            heads = await self._database.read(stored_live.heads_with_unscored)
            await self._learn_leftovers(heads)
        except ServiceError as error:  # whoever asks for one learns it
            log.error(
                "live copies learn what is left only when they are needed",
                reason=str(error),
                exc_info=None if is_expected(error) else error,
            )

    async def until_dropped(self, uid: str) -> None:
        """Waits until nothing of a copy that a write has outdated is in memory any more."""
        if (entry := self._entries.get(uid)) is not None:
            with self._entries.using(entry):
                async with entry.lock:
                    pass

    async def serving(self, loaded: LoadedHead) -> LoadedHead:
        """Returns the live copy of a head whose copy serves, or else the active version.

        Raises:
            NotFound: the head was deleted meanwhile; the version alone does not answer for it.
        """
        if loaded.policy != Policy.IMMEDIATE:
            return loaded
        snapshot = await self._current(loaded.uid, loaded.tenant)
        if snapshot.deleted:
            raise NotFound.at("head", "{value} was deleted meanwhile", value=loaded.resource)
        if snapshot.head is None:
            return loaded
        return replace(
            loaded,
            version=snapshot.version,
            head=snapshot.head,
            live=True,
            acceptance=loaded.acceptance and _of_live(loaded, loaded.acceptance, snapshot),
            unproven=frozenset(snapshot.head.labels) - frozenset(loaded.head.labels),
        )

    async def status(self, head: HeadRecord) -> LiveStatus:
        """Returns the live copy's status, all acknowledged feedback learned."""
        return (await self._current(head.uid, head.tenant)).status

    async def promote(self, head: HeadRecord) -> MadeVersion:
        """Makes a version of the live copy and activates it; says which had to go for it.

        Raises:
            PreconditionFailed: there is no copy that could score.
            Aborted: what it is built on was changed meanwhile.
        """
        return await self._tasks.run(self._promote(head))

    async def drop(self, head: HeadRecord) -> int:
        """Drops the live copy; returns how much feedback went into quarantine.

        Raises:
            PreconditionFailed: there is no copy.
            Aborted: what it is built on was changed meanwhile.
        """
        return await self._tasks.run(self._drop(head))

    async def close(self) -> None:
        """Stops learning; what was not learned is learned after the next start."""
        tasks = [entry.task for entry in self._entries if entry.task is not None]
        self._closed = True
        if self._leftovers is not None:
            tasks.append(self._leftovers)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for entry in self._entries:
            entry.next.cancel()  # nobody is to wait for what will not come
        await self._steps.close()

    def _follow(self, changed: Changed) -> None:
        everything = {entry.uid for entry in self._entries} if changed.everything else set()
        for uid in changed.live | everything:
            if (entry := self._entries.get(uid)) is not None:
                entry.outdate()
                self._entries.update_size(entry)
        for uid, tenant in changed.feedback.items():
            ours = self._is_ours(uid)
            entry = self._entries.open(uid, tenant) if ours else self._entries.get(uid)
            if entry is not None:
                entry.record_feedback()
                if ours and not self._closed:
                    self._wake(entry)

    async def _promote(self, head: HeadRecord) -> MadeVersion:
        entry = self._entries.open(head.uid, head.tenant)
        with self._entries.using(entry):
            async with entry.lock:
                copy = await self._up_to_date(entry, head)
                if copy.head is None:
                    raise _no_copy(head, "its examples are of one class only")
                stored = await self._database.read(stored_live.live_set, entry.uid)
                return await self._steps.promote(entry, copy, stored)

    async def _drop(self, head: HeadRecord) -> int:
        entry = self._entries.open(head.uid, head.tenant)
        with self._entries.using(entry):
            async with entry.lock:
                return await self._steps.drop(entry, await self._up_to_date(entry, head))

    async def _up_to_date(self, entry: CachedCopy, head: HeadRecord) -> LiveCopy:
        """Returns the head's copy, all acknowledged feedback learned; the lock must be held.

        Raises:
            PreconditionFailed: there is none.
            Aborted: what it is built on was changed again and again meanwhile.
        """
        for _ in range(ATTEMPTS):
            wanted, snapshot = entry.revision, entry.valid_snapshot()
            while snapshot is None or not snapshot.covers(wanted):
                snapshot = await self._step(entry)
            if entry.copy is not None:
                return entry.copy
            if entry.snapshot is snapshot:
                raise _no_copy(head, snapshot.status.reason)
        raise Aborted(
            f"head: what the live copy of {head.resource} stands on was changed meanwhile",
            field="head",
            value=head.resource,
            retry_after=1.0,
        )

    async def _current(self, uid: str, tenant: str) -> Snapshot:
        """Returns a head's snapshot, all learned that was acknowledged before the call."""
        entry = self._entries.open(uid, tenant)
        wanted, snapshot = entry.revision, entry.valid_snapshot()
        with self._entries.using(entry):
            while snapshot is None or not snapshot.covers(wanted):
                self._wake(entry)
                snapshot = await asyncio.shield(entry.next)
        return snapshot

    def _wake(self, entry: CachedCopy) -> None:
        """Starts a task that brings the entry up to date, unless one is running."""
        if entry.task is None or entry.task.done():
            entry.users += 1
            # Not in the context of the request that comes first, which it would keep.
            name, context = f"live-{entry.uid}", self._context.copy()
            entry.task = asyncio.create_task(self._work(entry), name=name, context=context)
            entry.task.add_done_callback(partial(self._end, entry))

    def _end(self, entry: CachedCopy, task: asyncio.Task[None]) -> None:
        if entry.task is task:  # which holds far more than its result
            entry.task = None
        self._entries.release(entry)

    async def _work(self, entry: CachedCopy) -> None:
        """Learns until nothing is left that was acknowledged."""
        while entry.snapshot is None or entry.snapshot.revision != entry.revision:
            async with entry.lock:
                await self._step(entry)

    async def _step(self, entry: CachedCopy) -> Snapshot | None:
        snapshot = await self._steps.take(entry)
        self._entries.update_size(entry)
        return snapshot

    async def _learn_leftovers(self, heads: list[tuple[str, str]]) -> None:
        for uid, tenant in heads:
            if self._is_ours(uid):
                await self._current(uid, tenant)


def _of_live(loaded: LoadedHead, found: Acceptance, snapshot: Snapshot) -> Acceptance:
    """Returns what is accepted of a live copy's answers: what is of its version's.

    Its own answers are not measured; they differ by what feedback has taught. After a change in the
    stream it is another head altogether, on other inputs.
    """
    if snapshot.version != loaded.version:  # which has just taken over
        return Acceptance.none("another version took over meanwhile")
    if snapshot.status.drift.detected_at is not None:
        return Acceptance.none("the stream of feedback changed, and nothing is known of it yet")
    return found


def _no_copy(head: HeadRecord, reason: str) -> PreconditionFailed:
    why = f": {reason}" if reason else ""
    return PreconditionFailed(
        f"head: {head.resource} has no live copy{why}", field="head", value=head.resource
    )
