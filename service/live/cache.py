"""What is in memory of heads with live copies, bounded in bytes."""

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
"""Of a head that is remembered without a copy; a generous guess."""

Stamp = tuple[int, int]
"""How often what a copy stands on was changed by others, and how often feedback was stored."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is told of a head, and answers for it, at one moment. It does not change.

    Attributes:
        stamp: of all that it has seen.
        version: the active version that the copy moved on from.
        head: what answers; None where the active version does.
        good_until: on the event loop's clock; what came of a failure is to be tried again.
    """

    stamp: Stamp
    status: LiveStatus
    version: int = 0
    head: Head | None = None
    good_until: float = math.inf

    def covers(self, stamp: Stamp) -> bool:
        """Whether it has seen that much."""
        return self.stamp[0] >= stamp[0] and self.stamp[1] >= stamp[1]


@dataclass(eq=False, slots=True)
class CachedCopy:
    """What is in memory of one head.

    Whoever holds the lock may work on it, one step at a time.

    Attributes:
        stamp: of now.
        served: the answer, until it is outdated.
        next: is given what the next step comes to, then replaced by one for the step after.
        copy: what is worked on; None where there can be none, or it is to be made anew.
        backlog: feedback that was read and the copy is to learn, oldest first.
        goal: the stamp of when feedback was last read, and the id of the last of it: with that
            learned, the copy covers the stamp, whatever came meanwhile.
        failures: how many steps have failed since the last that did not.
        drift_at: when a change in the stream was detected, seconds since the epoch.
        users: who holds on to this entry, so that it must stay in memory.
    """

    uid: str
    tenant: str
    stamp: Stamp = (0, 0)
    served: Snapshot | None = None
    next: asyncio.Future[Snapshot] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    copy: LiveCopy | None = None
    backlog: list[LiveFeedback] = field(default_factory=list)
    goal: tuple[Stamp, int] | None = None
    failures: int = 0
    drift_at: float | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None
    users: int = 0
    nbytes: int = ENTRY_BYTES
    drifted: bool = False

    def note(self) -> None:
        """Feedback was stored."""
        self.stamp = (self.stamp[0], self.stamp[1] + 1)

    def outdate(self) -> None:
        """What the copy stands on was changed; nothing of it is left."""
        self.stamp = (self.stamp[0] + 1, self.stamp[1])
        self.drop()

    def drop(self) -> None:
        """Nothing of the copy is left; it is made anew when it is needed."""
        self.served, self.copy, self.backlog = None, None, []

    def answer(self) -> Snapshot | None:
        """What is told, unless it is not good any more."""
        served = self.served
        if served is not None and asyncio.get_running_loop().time() >= served.good_until:
            self.served = None
        return self.served

    def announce(self, served: Snapshot) -> None:
        """Tells all who wait."""
        self.next.set_result(served)
        self.next = asyncio.get_running_loop().create_future()


class LiveCache:
    """The entries of heads, those that were used last; the rest is dropped and made anew.

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
        """A head's entry, if it is in memory."""
        return self._entries.get(uid)

    def open(self, uid: str, tenant: str) -> CachedCopy:
        """A head's entry; hold it with `using` before the next await."""
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
            self.let_go(entry)

    def let_go(self, entry: CachedCopy) -> None:
        """Undoes one `entry.users += 1`."""
        entry.users -= 1
        self._evict()

    def weigh(self, entry: CachedCopy) -> None:
        """Keeps the books; call it when the entry's copy has changed, and nobody works on it."""
        if self._entries.get(entry.uid) is entry:
            copy = entry.copy
            nbytes = ENTRY_BYTES + (0 if copy is None else copy.nbytes)
            self._count(entry, nbytes, drifted=copy is not None and copy.changed)
            self._evict()

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
