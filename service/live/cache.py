"""Live copies in memory, bounded in bytes."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from adapters import Head
from service.live.live_copy import LiveCopy
from service.live.status import LiveStatus
from service.metrics import Metrics
from service.store.live_set import LiveFeedback

ENTRY_BYTES = 1000
"""Size of a head that is remembered without a copy; a generous guess."""

Revision = tuple[int, int]
"""How often what a copy is built on was changed by others, and how often feedback was stored."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The status of a head's live copy, and the head that scores, at one moment. Immutable.

    Attributes:
        revision: of all that it has learned.
        version: the active version that the copy moved on from.
        head: what scores; None where the active version does.
        good_until: on the event loop's clock; after a failure, when to try again.
        deleted: whether the head is gone, so that its active version answers no more either.
    """

    revision: Revision
    status: LiveStatus
    version: int = 0
    head: Head | None = None
    good_until: float = math.inf
    deleted: bool = False

    def covers(self, revision: Revision) -> bool:
        """Returns whether it has learned as much as a revision says."""
        return self.revision[0] >= revision[0] and self.revision[1] >= revision[1]


@dataclass(eq=False, slots=True)
class CachedCopy:
    """The live copy of one head, and how far it has learned; each step on it takes the lock.

    Attributes:
        revision: the current one.
        snapshot: the last one, until it is outdated.
        next: gets the snapshot after the next step, then is replaced by one for the step after.
        copy: what is worked on; None where there can be none, or it is to be made anew.
        backlog: feedback that was read and the copy is to learn, oldest first.
        target: the revision when feedback was last read, and the id of the last of it: with that
            learned, the copy covers the revision, whatever came meanwhile.
        failures: how many steps have failed since the last that did not.
        drift_at: when a change in the stream was detected, seconds since the epoch.
        users: how many use this entry, so that it must stay in memory.
    """

    uid: str
    tenant: str
    revision: Revision = (0, 0)
    snapshot: Snapshot | None = None
    next: asyncio.Future[Snapshot] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    copy: LiveCopy | None = None
    backlog: list[LiveFeedback] = field(default_factory=list)
    target: tuple[Revision, int] | None = None
    failures: int = 0
    drift_at: float | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None
    users: int = 0
    nbytes: int = ENTRY_BYTES
    drifted: bool = False

    @property
    def empty(self) -> bool:
        """Whether a new entry would know as much: that of a head which was deleted always is."""
        snapshot = self.snapshot
        return self.copy is None and (snapshot is None or snapshot.deleted)

    def record_feedback(self) -> None:
        """Records that feedback was stored."""
        self.revision = (self.revision[0], self.revision[1] + 1)

    def outdate(self) -> None:
        """Records that what the copy is built on was changed, and drops the copy."""
        self.revision = (self.revision[0] + 1, self.revision[1])
        self.drop()

    def drop(self) -> None:
        """Drops the copy; it is made anew when it is needed."""
        self.snapshot, self.copy, self.backlog = None, None, []

    def valid_snapshot(self) -> Snapshot | None:
        """Returns the last snapshot, or None if there is none that is still good."""
        snapshot = self.snapshot
        if snapshot is not None and asyncio.get_running_loop().time() >= snapshot.good_until:
            self.snapshot = None
        return self.snapshot

    def notify(self, snapshot: Snapshot) -> None:
        """Gives a snapshot to all who wait for the next one."""
        self.next.set_result(snapshot)
        self.next = asyncio.get_running_loop().create_future()


class LiveCache:
    """The entries of heads that were used last; the rest is dropped, and made anew when needed.

    Args:
        max_bytes: for all copies; what is in use stays above it.
    """

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._entries: OrderedDict[str, CachedCopy] = OrderedDict()
        self._bytes = 0
        self._copies = 0

    def __iter__(self) -> Iterator[CachedCopy]:
        return iter(self._entries.values())

    def get(self, uid: str) -> CachedCopy | None:
        """Returns a head's entry, if it is in memory."""
        return self._entries.get(uid)

    def open(self, uid: str, tenant: str) -> CachedCopy:
        """Returns a head's entry, new or not; call `using` before the next await."""
        entry = self._entries.get(uid)
        if entry is None:
            entry = self._entries[uid] = CachedCopy(uid, tenant)
            self._bytes += entry.nbytes
        self._entries.move_to_end(uid)
        return entry

    @contextmanager
    def using(self, entry: CachedCopy) -> Iterator[None]:
        """Keeps an entry in memory meanwhile."""
        entry.users += 1
        try:
            yield
        finally:
            self.release(entry)

    def release(self, entry: CachedCopy) -> None:
        """Undoes one `entry.users += 1`."""
        entry.users -= 1
        self._drop_if_empty(entry)
        self._evict()

    def update_size(self, entry: CachedCopy) -> None:
        """Counts an entry's bytes anew; call it after a step on its copy."""
        if self._entries.get(entry.uid) is entry:
            copy = entry.copy
            nbytes = ENTRY_BYTES + (0 if copy is None else copy.nbytes)
            self._count(entry, nbytes, drifted=copy is not None and copy.changed)
            self._drop_if_empty(entry)
            self._evict()

    def _drop_if_empty(self, entry: CachedCopy) -> None:
        if not entry.users and entry.empty and self._entries.get(entry.uid) is entry:
            del self._entries[entry.uid]
            self._count(entry, 0, drifted=False)

    def _evict(self) -> None:
        for _ in range(len(self._entries)):
            if self._bytes <= self._max_bytes:
                break
            uid, entry = self._entries.popitem(last=False)
            if entry.users:
                self._entries[uid] = entry
            else:
                self._count(entry, 0, drifted=False)
        self._metrics.live_copies.set(self._copies)
        self._metrics.live_bytes.set(self._bytes)

    def _count(self, entry: CachedCopy, nbytes: int, *, drifted: bool) -> None:
        self._bytes += nbytes - entry.nbytes
        self._copies += (nbytes > ENTRY_BYTES) - (entry.nbytes > ENTRY_BYTES)
        if drifted != entry.drifted:
            tenant = self._metrics.tenant(entry.tenant)
            self._metrics.live_drifted.labels(tenant).inc(drifted - entry.drifted)
        entry.nbytes, entry.drifted = nbytes, drifted
