"""Heads in memory: bounded, read once, and never out of date."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection

from adapters import Head
from service.errors import NotFound, PreconditionFailed
from service.metrics import Metrics
from service.serving.head_cache import HeadCache
from service.store import Database
from service.store import heads as stored_heads
from service.store.sqlite import SqliteDatabase
from tests.service.store.records import add_version, new_head
from tests.service.tiny_backbone import DIM, FINGERPRINT
from tests.service.waiting import Changes
from trunkline.resources import InvalidName

BIG = 1 << 30
NAME = "tenants/acme/heads/defects"


class WatchedDatabase(SqliteDatabase):
    """Counts reads; a test may hold one back after it has read, before its result is known."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.reads = 0
        self.changes = Changes()
        self.open = threading.Event()
        self.open.set()

    async def read(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        result = await super().read(function, *args, **kwargs)
        self.reads += 1
        self.changes.notify()
        await asyncio.to_thread(self.open.wait, 60)
        return result


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedDatabase]:
    opened = WatchedDatabase(tmp_path)
    yield opened
    opened.open.set()
    opened.close()


def weights(bias: float) -> bytes:
    head = Head(
        family="ridge",
        labels=("a", "b"),
        weight=np.zeros((2, DIM), np.float32),
        bias=np.array([bias, 0], np.float32),
        fingerprint=FINGERPRINT,
    )
    return head.to_safetensors()


def add_head(connection: Connection, name: str = "defects") -> str:
    head = new_head(connection, name)
    add_version(connection, head.uid, weights(1), activate=True)
    return head.uid


async def test_head_is_read_once_and_then_in_memory(watched: WatchedDatabase) -> None:
    await watched.write(add_head)
    cache = HeadCache(watched, BIG, Metrics(1))
    for _ in range(3):
        head = await cache.active(NAME)
        assert (head.version, head.head.bias[0]) == (1, 1.0)
    assert watched.reads == 1


async def test_concurrent_predictions_read_a_head_once(watched: WatchedDatabase) -> None:
    await watched.write(add_head)
    cache = HeadCache(watched, BIG, Metrics(1))
    heads = await asyncio.gather(*(cache.active(NAME) for _ in range(20)))
    assert all(head is heads[0] for head in heads)
    assert watched.reads == 1


async def test_heads_in_memory_stay_within_their_bytes(watched: WatchedDatabase) -> None:
    for name in "abcd":
        await watched.write(add_head, name)
    probe = await HeadCache(watched, BIG, Metrics(1)).active("tenants/acme/heads/a")
    metrics = Metrics(1)
    cache = HeadCache(watched, 2 * probe.nbytes, metrics)

    async def reads_for(name: str) -> int:
        before = watched.reads
        await cache.active(f"tenants/acme/heads/{name}")
        return watched.reads - before

    assert [await reads_for(name) for name in "abacab"] == [1, 1, 0, 1, 0, 1]
    assert metrics.registry.get_sample_value("trunkline_heads_loaded") == 2
    assert metrics.registry.get_sample_value("trunkline_head_cache_bytes") == 2 * probe.nbytes


async def test_head_larger_than_the_memory_is_still_served(watched: WatchedDatabase) -> None:
    await watched.write(add_head)
    cache = HeadCache(watched, 1, Metrics(1))
    assert (await cache.active(NAME)).version == 1
    assert (await cache.active(NAME)).version == 1


async def test_head_is_read_anew_after_another_version_took_over(watched: WatchedDatabase) -> None:
    uid = await watched.write(add_head)
    cache = HeadCache(watched, BIG, Metrics(1))
    await cache.active(NAME)
    await watched.write(add_version, uid, weights(2), activate=True)
    head = await cache.active(NAME)
    assert (head.version, head.head.bias[0]) == (2, 2.0)


async def test_version_activated_during_a_load_is_the_one_that_answers(
    watched: WatchedDatabase,
) -> None:
    uid = await watched.write(add_head)
    cache = HeadCache(watched, BIG, Metrics(1))
    watched.open.clear()
    waiting = asyncio.create_task(cache.active(NAME))
    await watched.changes.until(lambda: watched.reads == 1)
    await watched.write(add_version, uid, weights(2), activate=True)
    watched.open.set()
    assert (await waiting).version == 2
    assert (await cache.active(NAME)).version == 2


async def test_cancelled_waiter_does_not_disturb_the_others(watched: WatchedDatabase) -> None:
    await watched.write(add_head)
    cache = HeadCache(watched, BIG, Metrics(1))
    watched.open.clear()
    tasks = [asyncio.create_task(cache.active(NAME)) for _ in range(2)]
    await watched.changes.until(lambda: watched.reads == 1)
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    watched.open.set()
    assert (await tasks[1]).version == 1


async def test_named_version_answers_beside_the_active_one(watched: WatchedDatabase) -> None:
    uid = await watched.write(add_head)
    await watched.write(add_version, uid, weights(2), activate=True)
    cache = HeadCache(watched, BIG, Metrics(1))
    assert (await cache.version(NAME, 1)).version == 1
    assert (await cache.active(NAME)).version == 2
    with pytest.raises(NotFound):
        await cache.version(NAME, 3)


async def test_head_without_an_active_version_says_so_until_it_has_one(
    watched: WatchedDatabase,
) -> None:
    head = await watched.write(new_head)
    cache = HeadCache(watched, BIG, Metrics(1))
    for _ in range(2):
        with pytest.raises(PreconditionFailed, match="no active version"):
            await cache.active(NAME)
    await watched.write(add_version, head.uid, weights(1), activate=True)
    assert (await cache.active(NAME)).version == 1


async def test_deleted_head_is_not_found(watched: WatchedDatabase) -> None:
    await watched.write(add_head)
    cache = HeadCache(watched, BIG, Metrics(1))
    await cache.active(NAME)
    await watched.write(stored_heads.delete_head, "acme", "defects")
    with pytest.raises(NotFound):
        await cache.active(NAME)


async def test_malformed_name_is_refused(watched: WatchedDatabase) -> None:
    cache = HeadCache(watched, BIG, Metrics(1))
    with pytest.raises(InvalidName):
        await cache.active("acme/defects")


async def test_load_that_takes_long_delays_no_other_heads(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("slow", *"abcdef"):
        await database.write(add_head, name)
    cache, go_on = HeadCache(database, BIG, Metrics(1)), threading.Event()
    get_head = stored_heads.get_head

    def get_slowly(connection: Connection, tenant: str, head: str) -> Any:
        if head == "slow":
            assert go_on.wait(60)
        return get_head(connection, tenant, head)

    monkeypatch.setattr(stored_heads, "get_head", get_slowly)
    slow = asyncio.create_task(cache.active("tenants/acme/heads/slow"))
    await asyncio.sleep(0)
    try:
        others = [await cache.active(f"tenants/acme/heads/{name}") for name in "abcdef"]
        assert [head.version for head in others] == [1] * 6
        assert not slow.done()
    finally:
        go_on.set()
    assert (await slow).version == 1
