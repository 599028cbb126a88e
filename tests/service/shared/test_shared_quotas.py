"""A tenant has one quota on all servers, and each server's own while the shared cache is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from service.access.quotas import QuotaBook
from service.access.shared_quotas import FRESH_SECONDS, SharedQuotas
from service.concurrency.circuit import FIRST_PAUSE_SECONDS, Circuit
from service.errors import QuotaExceeded
from service.metrics import Metrics
from service.shared import RedisAddress, TenantSecrets
from service.shared.server import SharedServer
from service.store import Database
from service.store import heads as stored_heads
from service.store import tenants as stored_tenants
from service.store.quotas import Quotas
from tests.service.shared.sharing import PATIENCE
from tests.service.shared.valkey import Valkey
from tests.service.store.records import add_examples, example, new_head

BURST = 20.0
SLOW = Quotas(cost_per_second=0.001, cost_burst=BURST)
"""So little comes in that it does not count in a test, on whichever clock."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Keeper:
    """A server's quotas."""

    def __init__(self, database: Database, url: str, quotas: Quotas, clock: Clock) -> None:
        self.clock = clock
        self.server = SharedServer(
            RedisAddress.parse(url), PATIENCE, Metrics(1), circuit=Circuit(clock)
        )
        self.shared = SharedQuotas(self.server, TenantSecrets(database, PATIENCE), clock)
        self.book = QuotaBook(database, quotas, clock, self.shared)

    async def take(self, cost: float, tenant: str = "acme") -> bool:
        """Asks as a request does that comes after a while; says whether it is let in."""
        self.clock.now += FRESH_SECONDS
        return await self.take_at_once(cost, tenant)

    async def take_at_once(self, cost: float, tenant: str = "acme") -> bool:
        await self.book.hear(tenant)
        try:
            self.book.take(tenant, cost, lambda: f"{cost}")
        except QuotaExceeded:
            return False
        return True

    async def left(self, tenant: str = "acme") -> float:
        self.clock.now += FRESH_SECONDS
        await self.book.hear(tenant)
        state = self.book.rate_limit(tenant)
        assert state is not None
        return round(state.remaining)


@asynccontextmanager
async def keepers(
    database: Database, url: str, quotas: Quotas = SLOW
) -> AsyncIterator[tuple[Keeper, Keeper]]:
    clock = Clock()
    both = Keeper(database, url, quotas, clock), Keeper(database, url, quotas, clock)
    await database.write(new_head)
    try:
        yield both
    finally:
        for keeper in both:
            await keeper.shared.close()
            await keeper.server.close()


async def test_what_one_server_let_in_another_does_not_let_in_again(
    database: Database, shared_url: str
) -> None:
    async with keepers(database, shared_url) as (one, two):
        assert await one.take(15.0)
        await one.shared.close()
        assert await two.take(5.0)
        assert not await two.take(1.0)
        await two.shared.close()
        assert not await one.take(1.0)


async def test_what_was_taken_is_told_soon_without_being_asked_for(
    database: Database, shared_url: str
) -> None:
    async with keepers(database, shared_url) as (one, two):
        assert await one.take(BURST)
        while await two.left():
            pass
        assert not await two.take(1.0)


async def test_requests_that_come_at_once_on_all_servers_are_owed_for(
    database: Database, shared_url: str
) -> None:
    async with keepers(database, shared_url) as (one, two):
        for keeper in (one, two):
            assert await keeper.left() == BURST
        for keeper in (one, two):
            assert await keeper.take_at_once(BURST)
            await keeper.shared.close()
        # What came beyond the burst is owed: as much must come in before anything is let in again.
        await database.write(
            stored_tenants.update_quotas, "acme", {"cost_per_second": 1.0, "cost_burst": 1e3}
        )
        for keeper in (one, two):
            assert await keeper.left() == 0
            state = keeper.book.rate_limit("acme")
            assert state is not None
            assert 1e3 + BURST - 5 < state.reset <= 1e3 + BURST


async def test_what_is_taken_during_an_exchange_is_taken(
    database: Database, valkey: Valkey
) -> None:
    async with keepers(database, valkey.url) as (one, _):
        assert await one.take(5.0)
        await one.shared.close()
        with valkey.held():
            one.clock.now += FRESH_SECONDS
            hearing = asyncio.create_task(one.book.hear("acme"))
            await database.read(stored_tenants.get_tenant, "acme")  # it has begun since
            one.book.take("acme", 3.0, lambda: "")
        await hearing
        state = one.book.rate_limit("acme")
        assert state is not None
        assert round(state.remaining) == BURST - 8


async def test_what_was_not_used_is_there_again_on_all_servers(
    database: Database, shared_url: str
) -> None:
    async with keepers(database, shared_url) as (one, two):
        assert await one.take(15.0)
        await one.shared.close()
        assert await two.left() == 5
        one.book.charge("acme", -10.0)
        await one.shared.close()
        assert (await one.left(), await two.left()) == (15, 15)


async def test_quota_is_filled_by_the_clock_of_the_shared_cache(
    database: Database, shared_url: str
) -> None:
    fast = Quotas(cost_per_second=1e6, cost_burst=BURST)
    async with keepers(database, shared_url, fast) as (one, two):
        for keeper in (one, two) * 3:
            assert await keeper.take(BURST)
            await keeper.shared.close()


async def test_other_tenants_and_who_is_none_have_their_own(
    database: Database, shared_url: str
) -> None:
    await database.write(new_head, "defects", "bolt")
    async with keepers(database, shared_url) as (one, two):
        for tenant in ("acme", "nobody"):
            assert await one.take(BURST, tenant)
        await one.shared.close()
        assert await two.take(BURST, "bolt")
        assert await two.take(BURST, "nobody")
        assert not await two.take(1.0, "acme")


async def test_tenant_cannot_fill_its_quota_by_forgetting(
    database: Database, shared_url: str
) -> None:
    async with keepers(database, shared_url) as (one, two):
        assert await one.take(BURST)
        await one.shared.close()
        head = await database.write(new_head, "another")
        await database.write(add_examples, head.uid, example("x"))
        await database.write(stored_heads.delete_head, "acme", "another")
        assert not await two.take(1.0)


async def test_server_takes_from_its_own_while_the_shared_cache_is_away_and_is_not_charged_twice(
    database: Database, valkey: Valkey
) -> None:
    async with keepers(database, valkey.url) as (one, two):
        assert await one.take(15.0)
        await one.shared.close()
        assert await two.left() == 5
        valkey.kill()
        assert await two.take(5.0)
        assert not await two.take(1.0)
        await two.shared.close()
        valkey.start()
        one.clock.now += 100 * FIRST_PAUSE_SECONDS
        assert (await one.left(), await two.left()) == (BURST, BURST)


@pytest.mark.parametrize("level", ["nan", "-inf", "inf", "words"])
async def test_what_lies_in_the_place_of_a_bucket_lets_in_as_one_server_would(
    database: Database, shared_url: str, level: str
) -> None:
    async with Redis.from_url(shared_url) as redis, keepers(database, shared_url) as (one, two):
        assert await one.take(5.0)
        await one.shared.close()
        seal = await TenantSecrets(database, PATIENCE).of("acme")
        assert seal is not None
        name = seal.common_name("q")
        assert await redis.pttl(name) > 0
        await redis.hset(name, "level", level)
        assert await two.take(BURST)
        assert not await two.take(1.0)
        await redis.set(name, "no bucket")
        assert not await two.take(1.0)
        await redis.delete(name)
