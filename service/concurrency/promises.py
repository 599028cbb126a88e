"""Refused requests are promised a later time; those that come back then go before newcomers."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass

MEMORY = 16
"""Promises over which it is learned how many come back."""
LEAST_KEPT = 0.05
GRACE_SECONDS = 1.0
GRACE_SHARE = 0.25
"""A request that comes back later than this, and by more than this share of the wait, is new."""
MAX_PROMISES = 10_000
EARLY = 0.98
"""Share of the wait after which a client is not early: its timer may be a little fast."""


@dataclass(eq=False, slots=True)
class _Promise:
    tenant: str
    rows: int
    made: float
    due: float
    ahead: bool = True


class Promises:
    """The times promised to refused requests of one backbone.

    Attributes:
        kept: the share of those promised who come back, as seen recently.
        rows: those with a time to come, by tenant.
        outstanding: rows of all who may still come back.
    """

    def __init__(self) -> None:
        self.kept = 1.0
        self.rows: Counter[str] = Counter()
        self.outstanding = 0
        self._promises: dict[tuple[str, str], _Promise] = {}
        self._dues: list[tuple[float, int, tuple[str, str], _Promise]] = []
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._promises)

    def claim(self, tenant: str, key: str, now: float) -> bool:
        """Returns whether a request comes back in the time promised to it, which is then kept."""
        promise = self._promises.get((tenant, key))
        if promise is None or now < promise.made + EARLY * (promise.due - promise.made):
            return False
        self._end((tenant, key), promise, came_back=True)
        return True

    def find(self, tenant: str, key: str, now: float) -> float | None:
        """Returns the time to come that a request was promised before."""
        promise = self._promises.get((tenant, key))
        return promise.due if promise is not None and promise.due > now else None

    def make(self, tenant: str, key: str, rows: int, now: float, due: float) -> None:
        """Promises a request a time."""
        if (tenant, key) not in self._promises and len(self._promises) < MAX_PROMISES:
            promise = self._promises[tenant, key] = _Promise(tenant, rows, now, due)
            self.rows[tenant] += rows
            self.outstanding += rows
            self._push(due, (tenant, key), promise)

    def pass_time(self, now: float) -> None:
        """Moves on to now: some promised times have come, others are over."""
        while self._dues and self._dues[0][0] <= now:
            _, _, key, promise = heapq.heappop(self._dues)
            if self._promises.get(key) is not promise:
                continue
            if promise.ahead:
                self._take_from_ahead(promise)
                wait = promise.due - promise.made
                end = promise.due + GRACE_SECONDS + GRACE_SHARE * wait
                self._push(end, key, promise)
            else:
                self._end(key, promise, came_back=False)

    def _push(self, time: float, key: tuple[str, str], promise: _Promise) -> None:
        self._sequence += 1
        heapq.heappush(self._dues, (time, self._sequence, key, promise))

    def _take_from_ahead(self, promise: _Promise) -> None:
        promise.ahead = False
        self.rows[promise.tenant] -= promise.rows
        if not self.rows[promise.tenant]:
            del self.rows[promise.tenant]

    def _end(self, key: tuple[str, str], promise: _Promise, *, came_back: bool) -> None:
        del self._promises[key]
        self.outstanding -= promise.rows
        if promise.ahead:
            self._take_from_ahead(promise)
        self.kept = max(LEAST_KEPT, self.kept + (came_back - self.kept) / MEMORY)
