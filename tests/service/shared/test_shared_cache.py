"""What one server computed no other computes again, and what is forgotten is gone for all."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from sqlalchemy import Connection

from service.embedding.cache import CachedEmbedding, CacheKey
from service.errors import NotFound
from service.requests.inputs import Kind
from service.shared import TenantSecrets
from service.shared.sealing import PREFIX, Seal
from service.store import Database
from service.store import examples as stored_examples
from service.store import forgetting as stored_forgetting
from service.store import tenants as stored_tenants
from service.store.cache_secrets import find_secrets, make_secrets, slot_of
from service.store.sqlite.database import READER_THREADS
from tests.service.embedding.resolvers import vectors_of
from tests.service.shared.sharing import PATIENCE, sharing
from tests.service.shared.valkey import Valkey
from tests.service.store.records import add_examples, example, new_head
from tests.service.tiny_backbone import DIM, FINGERPRINT, digest_input, info, vector_of
from trunkline.digest import text_digest

X = text_digest("x")
BESIDE_X = next(
    text for text in map(str, itertools.count()) if slot_of(text_digest(text)) == slot_of(X)
)
"""A text whose embedding is sealed with the same secret."""


@pytest.fixture
async def redis(shared_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(shared_url)
    yield client
    await client.aclose()


def numbers(*texts: str) -> list[list[float]]:
    return [vector_of(text).tolist() for text in texts]


async def test_what_one_server_computed_another_finds(database: Database, shared_url: str) -> None:
    await database.write(new_head)
    async with sharing(database, shared_url) as one, sharing(database, shared_url) as two:
        assert await one.resolve("x", "y") == numbers("x", "y")
        assert await two.resolve("x", "z", "y") == numbers("x", "z", "y")
        assert (one.extractor.asked, two.extractor.asked) == ([["x", "y"]], [["z"]])
        assert (one.lookups(), two.lookups()) == ({"miss": 2}, {"hit": 2, "miss": 1})
        await two.resolve("x", "y")
        assert two.lookups() == {"hit": 2, "miss": 1}  # they are in memory now
        (known,) = vectors_of(await two.resolver.resolve("acme", info(), [digest_input(X)]))
        assert [known] == numbers("x")


async def test_kind_and_cut_of_a_text_are_kept(database: Database, shared_url: str) -> None:
    await database.write(new_head)
    async with sharing(database, shared_url) as one, sharing(database, shared_url) as two:
        for server in (one, two):
            await server.resolve("x" * 1000)
        (found,) = await two.resolver.resolve(
            "acme", info(), [digest_input(text_digest("x" * 1000))]
        )
        assert not isinstance(found, Exception)
        assert (found.kind, found.truncated) == (Kind.TEXT, True)
        assert two.extractor.asked == []
        assert found.vector.flags.aligned


async def test_another_tenant_finds_nothing_and_who_is_no_tenant_uses_it_not(
    database: Database, shared_url: str
) -> None:
    for tenant in ("acme", "bolt"):
        await database.write(new_head, "defects", tenant)
    async with sharing(database, shared_url) as one, sharing(database, shared_url) as two:
        await one.resolve("x")
        assert await two.resolve("x", tenant="bolt") == numbers("x")
        assert await two.resolve("x", tenant="nobody") == numbers("x")
        assert two.extractor.asked == [["x"], ["x"]]
        assert two.lookups() == {"miss": 1, "away": 1}


async def test_what_lies_there_tells_nothing_and_ends_by_itself(
    database: Database, shared_url: str, redis: Redis
) -> None:
    await database.write(new_head)
    before = set(await redis.keys(PREFIX + b"e:*"))
    async with sharing(database, shared_url) as one:
        await one.resolve("x")
    (name,) = set(await redis.keys(PREFIX + b"e:*")) - before
    value = await redis.get(name)
    assert isinstance(value, bytes)
    assert 0 < await redis.pttl(name) <= 60_000
    assert vector_of("x").tobytes() not in value
    assert all(part.encode() not in name for part in ("acme", X[:8], FINGERPRINT[:8]))


@pytest.mark.parametrize("change", ["bit", "cut", "foreign", "moved", "longer", "empty"])
async def test_damaged_value_is_computed_anew_counted_and_mended(
    database: Database, shared_url: str, redis: Redis, change: str
) -> None:
    await database.write(new_head)
    async with sharing(database, shared_url) as one, sharing(database, shared_url) as two:
        before = set(await redis.keys(PREFIX + b"e:*"))
        await one.resolve("x")
        (name,) = set(await redis.keys(PREFIX + b"e:*")) - before
        await one.resolve(BESIDE_X)
        (other,) = set(await redis.keys(PREFIX + b"e:*")) - before - {name}
        value, moved = await redis.get(name), await redis.get(other)
        assert isinstance(value, bytes)
        assert isinstance(moved, bytes)
        damaged = {
            "bit": value[:-1] + bytes((value[-1] ^ 1,)),
            "cut": value[:-1],
            "foreign": b"somebody else's value",
            "moved": moved,
            "longer": value + b"\0" * 4,
            "empty": b"",
        }
        await redis.set(name, damaged[change])
        assert await two.resolve("x") == numbers("x")
        assert two.lookups() == {"damaged": 1}
        async with sharing(database, shared_url) as three:
            assert await three.resolve("x") == numbers("x")
            assert three.lookups() == {"hit": 1}


async def test_value_of_another_type_is_a_miss(
    database: Database, shared_url: str, redis: Redis
) -> None:
    await database.write(new_head)
    async with sharing(database, shared_url) as one, sharing(database, shared_url) as two:
        before = set(await redis.keys(PREFIX + b"e:*"))
        await one.resolve("x")
        (name,) = set(await redis.keys(PREFIX + b"e:*")) - before
        await redis.delete(name)
        await redis.hset(name, "a", "b")
        assert await two.resolve("x") == numbers("x")
        assert two.lookups() == {"miss": 1}


async def test_forgotten_input_is_found_by_no_server_and_others_are(
    database: Database, shared_url: str
) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x"), example("y"))
    async with sharing(database, shared_url) as one, sharing(database, shared_url) as two:
        await one.resolve("x", "y")
        plan = await database.read(stored_forgetting.plan, head.uid, [X])
        await database.write(stored_forgetting.forget, head.uid, plan, None)
        (gone,) = await two.resolver.resolve("acme", info(), [digest_input(X)])
        assert isinstance(gone, NotFound)
        await two.resolve("x", "y")
        assert two.extractor.asked == [["x"]]


async def test_what_waits_to_be_put_there_while_it_is_forgotten_is_found_by_nobody(
    database: Database, shared_url: str
) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x"))
    async with sharing(database, shared_url) as one, sharing(database, shared_url) as two:
        await one.resolve("y")  # it has the tenant's secrets
        one.cache.put(
            CacheKey("acme", FINGERPRINT, X), CachedEmbedding(vector_of("x"), Kind.TEXT, False)
        )
        await database.write(stored_examples.delete_example, head.uid, X)
        await one.cache.close()
        assert one.count("written_total") == 2
        (gone,) = await two.resolver.resolve("acme", info(), [digest_input(X)])
        assert isinstance(gone, NotFound)


async def test_secrets_that_were_read_before_they_were_renewed_are_not_used(
    database: Database,
) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x"))
    await database.write(make_secrets, "acme")
    read, renewed = asyncio.Event(), asyncio.Event()

    class Slow:
        """The database, whose first read of secrets ends only after they were renewed."""

        follow = database.follow

        async def read(self, function: Callable[..., Any], *args: Any) -> Any:
            found = await database.read(function, *args)
            read.set()
            await renewed.wait()
            return found

    secrets = TenantSecrets(cast("Database", Slow()), PATIENCE)
    reading = asyncio.create_task(secrets.of("acme"))
    await read.wait()
    await database.write(stored_examples.delete_example, head.uid, X)
    renewed.set()
    assert await reading is None
    seal = await secrets.of("acme")
    assert seal is not None
    current = await database.read(find_secrets, "acme")
    assert current is not None
    assert seal.name(FINGERPRINT, X) == Seal(current).name(FINGERPRINT, X)


async def test_embedding_that_was_found_before_it_was_forgotten_is_not_kept(
    database: Database, valkey: Valkey
) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x"))
    async with sharing(database, valkey.url) as one, sharing(database, valkey.url) as two:
        await one.resolve("x")
        await two.resolve("y")  # it has the tenant's secrets
        with valkey.held():
            finding = asyncio.create_task(two.resolver.resolve("acme", info(), [digest_input(X)]))
            await database.write(stored_examples.delete_example, head.uid, X)
        assert vectors_of(await finding) == numbers("x")
        assert two.resolver.cached("acme", FINGERPRINT, [X]) == set()
        (gone,) = await two.resolver.resolve("acme", info(), [digest_input(X)])
        assert isinstance(gone, NotFound)


async def test_tenant_of_the_same_name_finds_nothing_of_the_one_before(
    database: Database, shared_url: str
) -> None:
    await database.write(new_head)
    async with sharing(database, shared_url) as one, sharing(database, shared_url) as two:
        await one.resolve("x")
        await database.write(stored_tenants.delete_tenant, "acme")
        await database.write(new_head)
        await two.resolve("x")
        assert two.extractor.asked == [["x"]]
        await one.resolve("x")
        assert one.lookups() == {"miss": 1, "hit": 1}  # what the other has put there since


async def test_what_is_beyond_the_queue_is_counted_and_not_put_there(
    database: Database, shared_url: str
) -> None:
    await database.write(new_head)
    room = 2 * (4 * DIM + 100)
    async with sharing(database, shared_url, queued_bytes=room) as one:
        await one.resolve("a", "b", "c", "d", "e")
        lost = one.count("lost_total", reason="queue")
        assert 0 < lost < 5
        assert one.count("written_total") == 5 - lost


async def test_store_that_hangs_does_not_hold_up_who_needs_it_for_the_cache_alone(
    database: Database, shared_url: str
) -> None:
    await database.write(new_head)
    async with sharing(database, shared_url) as one:
        await one.resolve("x")
        begun, go = threading.Semaphore(0), threading.Event()

        def hang(connection: Connection) -> None:
            begun.release()
            go.wait(60)

        threads = [asyncio.create_task(database.read(hang)) for _ in range(READER_THREADS)]
        for _ in threads:
            await asyncio.to_thread(begun.acquire)
        hasty = TenantSecrets(database, 0.05)
        assert await hasty.of("acme") is None
        assert await one.resolve("x", "y") == numbers("x", "y")  # it has them already
        go.set()
        await asyncio.gather(*threads)
        assert await hasty.of("acme") is not None
