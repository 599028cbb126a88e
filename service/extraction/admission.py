"""Admission control: how many rows and bytes may be inside the pipeline."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from service.concurrency.promises import Promises
from service.errors import QueueFull

MEMORY_SECONDS = 2.0
"""Over which it is seen how fast a bound is left (the time constant of an exponential mean)."""
LEAST_WAIT, MOST_WAIT = 0.05, 30.0
UNKNOWN_WAIT = 0.5
"""Seconds after which to come again where nothing has left yet."""


class Admission:
    """Bounds the rows and bytes inside the pipeline before any work is done.

    The rule is the same for one row and for many: either all rows of a request fit, or none is
    admitted. Who does not fit is told when so much will have left, and room is kept for who comes
    back then.
    """

    def __init__(self, *, per_tenant: int, total: int, max_bytes: int) -> None:
        self._per_tenant = per_tenant
        self._tenants: dict[str, Bound] = {}
        self._rows = Bound("queued rows of all tenants", total)
        self._bytes = Bound("queued bytes", max_bytes)

    @contextmanager
    def admit(
        self, tenant: str, rows: int, nbytes: int = 0, *, key: str = "", now: float = 0.0
    ) -> Iterator[None]:
        """Admits `rows` rows, of `nbytes` bytes in all, for the length of the block.

        Args:
            key: identifies the request when it comes back; without one, no time is promised.
            now: the event loop's time.

        Raises:
            QueueFull: with a retry hint, if they do not fit.
        """
        own = self._tenants.get(tenant) or Bound("queued rows of this tenant", self._per_tenant)
        bounds = ((own, rows), (self._rows, rows), (self._bytes, nbytes))
        self._forget_oldest(now)
        try:
            for bound, amount in bounds:
                bound.check(key, amount, now)
        finally:
            self._keep(tenant, own)
        for bound, amount in bounds:
            bound.held += amount
        self._tenants[tenant] = own
        try:
            yield
        finally:
            for bound, amount in bounds:
                bound.leave(amount)
            self._keep(tenant, own)

    def _forget_oldest(self, now: float) -> None:
        """Looks at one tenant more: who never comes back leaves nothing behind."""
        if (tenant := next(iter(self._tenants), None)) is not None:
            bound = self._tenants.pop(tenant)
            bound.pass_time(now)
            self._keep(tenant, bound)

    def _keep(self, tenant: str, bound: Bound) -> None:
        """Keeps a tenant's bound as long as it says anything."""
        if bound.idle:
            self._tenants.pop(tenant, None)
        else:
            self._tenants[tenant] = bound


class Bound:
    """A bound on rows or bytes, and what was promised of it.

    Attributes:
        limit: so much may be inside.
        held: so much is.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self.limit = limit
        self._promises = Promises()
        self._left = 0.0
        self._seen = -math.inf
        self._gone = 0
        self.held = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is inside, and nobody is to come back."""
        return not self.held and not len(self._promises)

    def check(self, key: str, amount: int, now: float) -> None:
        """Checks that so much fits beside what is promised to others.

        Raises:
            QueueFull: it does not.
        """
        self._observe(now)
        self.pass_time(now)
        promised = bool(key) and self._promises.claim("", key, now)
        kept = 0.0 if promised else self._promises.kept * self._promises.outstanding
        kept = min(kept, self.held)  # where little is inside, there is room for all
        over = self.held + amount + kept - self.limit
        if over > 0:
            raise QueueFull(
                f"{self._name}: at most {self.limit}, would be {self.held + amount}"
                f"{' beside what is promised to others' if kept else ''}; try again later",
                field=self._name,
                limit=self.limit,
                value=self.held + amount,
                retry_after=self._wait(key, amount, over, now),
            )

    def pass_time(self, now: float) -> None:
        """Ends the promises whose time is over."""
        self._promises.pass_time(now)

    def leave(self, amount: int) -> None:
        """Notes that so much has left."""
        self.held -= amount
        self._gone += amount

    def _observe(self, now: float) -> None:
        """Takes into the mean what has left since it was asked last."""
        elapsed = now - self._seen
        if elapsed > 0:
            share = math.exp(-elapsed / MEMORY_SECONDS)
            arrived = self._gone if elapsed < math.inf else 0
            self._left = share * self._left + arrived
            self._gone, self._seen = 0, now

    def _wait(self, key: str, amount: int, over: float, now: float) -> float:
        """Returns the seconds after which so much more fits, and promises it."""
        due = self._promises.find("", key, now) if key else None
        if due is not None:
            return due - now
        rate = self._left / MEMORY_SECONDS
        wait = over / rate if rate > 0 else UNKNOWN_WAIT
        wait = min(max(wait, LEAST_WAIT), MOST_WAIT)
        if key and amount <= self.limit:
            self._promises.make("", key, amount, now, now + wait)
        return wait
