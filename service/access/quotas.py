"""What tenants may use: cost units by the second, which come in and are kept for later."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from service.access.shared_quotas import SharedQuotas, Taken
from service.concurrency.promises import Promises
from service.errors import QuotaExceeded
from service.store import Database
from service.store.changes import Changed
from service.store.quotas import Quotas
from service.store.tenants import own_quotas

BURST_SECONDS = 10.0
"""So much of the rate is kept for later where no burst is set."""

CACHED_ROW_COST = 0.01
"""Cost of a row whose embedding is in memory: some 50 us, where a computed one takes 5 ms."""

MAX_BUCKETS = 20_000
LEAST_WAIT = 0.01
PROMISED_SECONDS = 60.0
"""So much of the rate is promised at most; beyond, the time to come back is an estimate."""

SHARED_SECONDS = 0.02
"""Time for which is gathered what other servers on the store are then told."""

_PROMISED_UNIT = 0.001
"""Promises are made of whole numbers."""


class RateLimit(NamedTuple):
    """How much of its quota a tenant has left.

    Attributes:
        burst: units at most.
        window: seconds in which as many come in.
        remaining: units now; none where more was used.
        reset: seconds until it has all of them again.
    """

    burst: float
    window: float
    remaining: float
    reset: float


class CostBucket:
    """A tenant's cost units: a token bucket, from which is taken before anything is done.

    Who is refused is told when so much will be there beside what was promised to others, as far as
    those have come back lately. Whoever comes back then is let in, whatever others have taken: the
    bucket may owe, and newcomers wait until it does not. A request that costs more than the burst
    is let in when the bucket is full, and owes the rest. So in the long run no more is used than
    comes in.

    Args:
        rate: units that come in a second.
        burst: units that are kept at most.
        now: seconds of a clock.
        on_spent: is told what was taken; what was given back is less than nothing.

    Attributes:
        heard_at: when `hear` was called last.
    """

    def __init__(
        self,
        subject: str,
        rate: float,
        burst: float,
        now: float,
        on_spent: Callable[[float], None] = lambda cost: None,
    ) -> None:
        self.heard_at = -math.inf
        self._on_spent, self._untold = on_spent, 0.0
        self._subject = subject
        self._rate, self._burst = rate, burst
        self._level, self._seen = burst, now
        self._promises = Promises()

    def resize(self, rate: float, burst: float, now: float) -> None:
        """Changes the rate and the burst, from now on."""
        self._refill(now)
        self._rate, self._burst = rate, burst
        self._level = min(self._level, burst)

    def take(self, cost: float, key: Callable[[], str], now: float) -> None:
        """Takes so many units.

        Args:
            key: gives what identifies the request when it comes back.

        Raises:
            QuotaExceeded: they are not there; says when they will be.
        """
        self._refill(now)
        kept = 0.0
        if len(self._promises):
            self._promises.pass_time(now)
            if self._promises.claim("", key(), now):
                self._spend(cost)
                return
            kept = self._kept()
        # Where it is full there is room for all, else those who never come back would keep it.
        need = min(cost, self._burst)
        if self._level < min(need + kept, self._burst):
            wait = self._wait(key(), cost, need, now)
            raise QuotaExceeded(
                f"cost: {self._subject} may use {self._rate:g} cost units a second, of which "
                f"{self._burst:g} are kept, and this takes {cost:.4g}; come again in "
                f"{wait:.3g} s",
                field="cost_per_second",
                limit=f"{self._rate:g}",
                value=f"{cost:.4g}",
                retry_after=wait,
                subject=self._subject,
            )
        self._spend(cost)

    def give_back(self, cost: float) -> None:
        """Gives back units that were taken and not used; takes more where it is negative."""
        self._spend(-cost)

    def hand_over(self) -> Taken:
        """Returns what was taken since the last time, for a bucket in common with others."""
        spent, self._untold = self._untold, 0.0
        return Taken(spent, self._rate, self._burst)

    def hear(self, level: float, now: float) -> None:
        """Takes in what is in that bucket, in which all is that was handed over."""
        self._level, self._seen = min(level - self._untold, self._burst), now
        self.heard_at = now

    def hear_of(self, cost: float) -> None:
        """Takes units that another server on the store has taken."""
        self._level = min(self._level - cost, self._burst)

    def state(self, now: float) -> RateLimit:
        """Returns how much is left."""
        self._refill(now)
        missing = (self._burst - self._level) / self._rate
        return RateLimit(self._burst, self._burst / self._rate, max(self._level, 0.0), missing)

    def _spend(self, cost: float) -> None:
        self.hear_of(cost)
        self._untold += cost
        self._on_spent(cost)

    def _kept(self) -> float:
        """Returns the units that are kept for those who come back."""
        return self._promises.kept * self._promises.outstanding * _PROMISED_UNIT

    def _refill(self, now: float) -> None:
        self._level = min(self._level + (now - self._seen) * self._rate, self._burst)
        self._seen = now

    def _wait(self, key: str, cost: float, need: float, now: float) -> float:
        """Returns the seconds after which so much will be there, and keeps room for it."""
        due = self._promises.find("", key, now)
        if due is not None:
            return due - now
        wait = max((need + self._kept() - self._level) / self._rate, LEAST_WAIT)
        if self._promises.outstanding * _PROMISED_UNIT <= PROMISED_SECONDS * self._rate:
            self._promises.make("", key, math.ceil(cost / _PROMISED_UNIT), now, now + wait)
        return wait


class QuotaBook:
    """The quotas of all tenants, and what is left of them; it follows the database.

    Args:
        defaults: of tenants without any of their own.
        clock: seconds.
        shared: tells other servers what is taken.
    """

    def __init__(
        self,
        database: Database,
        defaults: Quotas,
        clock: Callable[[], float] = time.monotonic,
        shared: SharedQuotas | None = None,
    ) -> None:
        self._database, self._defaults, self._clock = database, defaults, clock
        self._shared = shared
        self._of: dict[str, Quotas] = {}
        self._buckets: OrderedDict[str, CostBucket] = OrderedDict()
        self._tell: Callable[[Mapping[str, float]], None] | None = None
        self._untold: dict[str, float] = {}
        database.follow(self._update)

    def share(self, tell: Callable[[Mapping[str, float]], None]) -> None:
        """Tells other servers on the store, every now and then, what is taken from each bucket."""
        self._tell = tell

    def hear_of(self, spent: Mapping[str, float]) -> None:
        """Takes what tenants have used at another server."""
        for tenant, cost in spent.items():
            if (bucket := self._bucket(tenant)) is not None:
                bucket.hear_of(cost)

    async def start(self) -> None:
        """Reads the quotas that tenants have of their own."""
        for tenant, own in (await self._database.read(own_quotas)).items():
            self._of.setdefault(tenant, own.over(self._defaults))

    def of(self, tenant: str) -> Quotas:
        """Returns what a tenant may use."""
        return self._of.get(tenant, self._defaults)

    async def hear(self, tenant: str, deadline: float | None = None) -> None:
        """Hears what other servers have taken, unless that was heard of late."""
        bucket = None if self._shared is None else self._bucket(tenant)
        if self._shared is not None and bucket is not None:
            await self._shared.refresh(tenant, bucket, deadline)

    def take(self, tenant: str, cost: float, key: Callable[[], str]) -> CostBucket | None:
        """Takes units from what a tenant may use; returns what to give back to, if there is any.

        Raises:
            QuotaExceeded: they are not there; says when they will be.
        """
        bucket = self._bucket(tenant)
        if bucket is not None:
            bucket.take(cost, key, self._clock())
        return bucket

    def charge(self, tenant: str, cost: float) -> None:
        """Takes units whether they are there or not."""
        bucket = self._bucket(tenant)
        if bucket is not None:
            bucket.give_back(-cost)

    def rate_limit(self, tenant: str) -> RateLimit | None:
        """Returns how much a tenant has left; None if there is no bound."""
        bucket = self._bucket(tenant)
        return None if bucket is None else bucket.state(self._clock())

    def _bucket(self, tenant: str) -> CostBucket | None:
        known = self._buckets.get(tenant)
        if known is not None:
            self._buckets.move_to_end(tenant)
            return known
        rate, burst = _rate(self.of(tenant))
        if not rate:
            return None
        bucket = CostBucket(
            f"tenants/{tenant}", rate, burst, self._clock(), partial(self._note, tenant)
        )
        self._buckets[tenant] = bucket
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return bucket

    def _note(self, tenant: str, cost: float) -> None:
        if self._shared is not None and tenant in self._buckets:
            self._shared.note(tenant, self._buckets[tenant])
        if self._tell is None:
            return
        if not self._untold:
            asyncio.get_running_loop().call_later(SHARED_SECONDS, self._share)
        self._untold[tenant] = self._untold.get(tenant, 0.0) + cost

    def _share(self) -> None:
        untold, self._untold = self._untold, {}
        if self._tell is not None:
            self._tell(untold)

    def _update(self, changed: Changed) -> None:
        if changed.everything:
            self._of.clear()
            self._buckets.clear()
        for tenant, own in changed.quotas.items():
            self._of[tenant] = own.over(self._defaults)
            if own == Quotas():
                del self._of[tenant]
            rate, burst = _rate(self.of(tenant))
            if not rate or tenant in changed.gone:
                self._buckets.pop(tenant, None)
            elif tenant in self._buckets:
                self._buckets[tenant].resize(rate, burst, self._clock())


def _rate(quotas: Quotas) -> tuple[float, float]:
    rate = quotas.cost_per_second or 0.0
    return rate, quotas.cost_burst or BURST_SECONDS * rate
