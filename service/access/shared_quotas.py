"""Quotas that several servers keep together: each takes from its own bucket, and tells the others.

A server's bucket is what it last heard of the common one, less what it has taken since. So nobody
waits for the shared cache to be let in, but the first after a while. Servers take more than there
is by what they take at once within one exchange, which the common bucket then owes: in the long run
no more is used than comes in. While the shared cache is away each server has a bucket of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from service.shared import TenantSecrets

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from service.shared.server import SharedServer

EXCHANGE_SECONDS = 0.05
"""After something was taken the others are told within this time, all tenants together."""

FRESH_SECONDS = 1.0
"""Who was not heard of for so long is asked for before something is taken."""

MAX_TENANTS = 256
"""Of one exchange."""

_BYTES = 200

# The common bucket, by the clock of the server that keeps it: what is missing is full.
_EXCHANGE = """
local found = redis.call('HMGET', KEYS[1], 'level', 'seen')
local spent, rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local level = tonumber(found[1]) or burst
if level ~= level then level = burst end
local since = math.max(now - (tonumber(found[2]) or now), 0)
level = math.min(math.min(level + since * rate, burst) - spent, burst)
redis.call('HSET', KEYS[1], 'level', string.format('%.17g', level),
  'seen', string.format('%.6f', now))
local full = math.min((burst - level) / rate, 31536000)
redis.call('PEXPIRE', KEYS[1], math.ceil(1000 * full) + 1000)
return string.format('%.17g', level)
"""


class Taken(NamedTuple):
    """What a server has taken from a bucket, and how that is filled."""

    spent: float
    rate: float
    burst: float


class Bucket(Protocol):
    """A server's bucket of one tenant."""

    heard_at: float
    """When `hear` was called last."""

    def hand_over(self) -> Taken:
        """Returns what was taken since the last time."""

    def hear(self, level: float, now: float) -> None:
        """Takes in what is in the common one, in which all is that was handed over."""


class SharedQuotas:
    """Exchanges what is taken from buckets with the other servers.

    Args:
        clock: seconds.
    """

    def __init__(
        self, server: SharedServer, secrets: TenantSecrets, clock: Callable[[], float]
    ) -> None:
        self._server, self._secrets, self._clock = server, secrets, clock
        self._untold: dict[str, Bucket] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}

    def note(self, tenant: str, bucket: Bucket) -> None:
        """Has the others told, soon, that something was taken."""
        self._untold[tenant] = bucket
        self._tell_soon()

    async def refresh(self, tenant: str, bucket: Bucket, deadline: float | None = None) -> None:
        """Hears what the others have taken, unless that was heard of late."""
        if self._clock() - bucket.heard_at < FRESH_SECONDS or self._server.away:
            return
        if tenant not in self._asking:
            self._ask({tenant: bucket}, deadline)
        await asyncio.shield(self._asking[tenant])

    async def close(self) -> None:
        """Tells the others what was taken until now."""
        while self._asking or self._untold:
            if self._timer is not None:
                self._timer.cancel()
            self._tell()
            await asyncio.gather(*self._asking.values())

    def _tell(self) -> None:
        """Begins an exchange of what is untold; of whom one is under way has another one later."""
        self._timer = None
        waiting = (tenant for tenant in self._untold if tenant not in self._asking)
        told = {tenant: self._untold.pop(tenant) for tenant in list(islice(waiting, MAX_TENANTS))}
        if told:
            self._ask(told)
        if self._untold:
            self._tell_soon()

    def _tell_soon(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(EXCHANGE_SECONDS, self._tell)

    def _ask(self, buckets: Mapping[str, Bucket], deadline: float | None = None) -> None:
        task = asyncio.create_task(self._exchange(buckets, deadline))
        self._asking |= dict.fromkeys(buckets, task)
        task.add_done_callback(lambda _: [self._asking.pop(tenant) for tenant in buckets])

    async def _exchange(self, buckets: Mapping[str, Bucket], deadline: float | None) -> None:
        named = []
        for tenant, bucket in buckets.items():
            seal = await self._secrets.of(tenant)
            if seal is None:  # it is no tenant yet, or the store is away
                bucket.heard_at = self._clock()
            else:
                named.append((seal.common_name("q"), bucket))
        # Taken out of the count now, and not put back: who was not heard has been limited by its
        # own bucket, and would pay for it twice.
        taken = [(name, bucket.hand_over()) for name, bucket in named]
        if not taken:
            return

        async def exchange(redis: Redis) -> list[float]:
            return await _run(redis, taken)

        levels = await self._server.ask(exchange, len(taken) * _BYTES, deadline)
        now = self._clock()
        for (_, bucket), level in zip(named, levels or (), strict=False):
            if math.isfinite(level):  # else it is no bucket that lies there
                bucket.hear(level, now)


async def _run(redis: Redis, taken: Sequence[tuple[bytes, Taken]]) -> list[float]:
    pipeline = redis.pipeline(transaction=False)
    for name, (spent, rate, burst) in taken:
        pipeline.execute_command("EVAL", _EXCHANGE, 1, name, repr(spent), repr(rate), repr(burst))
    levels = await pipeline.execute(raise_on_error=False)
    return [float(level) if isinstance(level, bytes) else math.nan for level in levels]
