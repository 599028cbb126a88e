"""A disk that stalls: noticed, said, bounded, and over when it goes on. The clock is the test's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from service.errors import Unavailable
from service.store import Database, open_database, stalls
from service.store.sqlite import SqliteDatabase
from tests.service.store.stalling import Clock, StalledDisk, Told

ROWS = 1_000


@pytest.fixture
def database(sqlite_database: SqliteDatabase) -> SqliteDatabase:
    return sqlite_database


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def disk(database: Database) -> Iterator[StalledDisk]:
    made = StalledDisk()
    yield made
    made.go_on()


def count_heads(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM heads")).scalar_one())


async def check_refused(work: Any) -> None:
    with pytest.raises(Unavailable, match="the store does not answer") as caught:
        await work
    assert (caught.value.field, caught.value.retry_after) == ("data_dir", 5.0)


async def test_write_that_stalls_refuses_further_ones_at_once_and_is_done_when_it_goes_on(
    database: Database, clock: Clock, disk: StalledDisk
) -> None:
    told = Told(database)
    write = asyncio.create_task(database.write(disk.stall))
    await disk.stalls()
    early = asyncio.create_task(database.write(count_heads))
    await asyncio.sleep(0)
    clock.jump()
    clock.fire()
    assert told.all == [True]
    await check_refused(database.write(count_heads))
    await check_refused(database.checkpoint())
    assert await database.read(count_heads) == 0
    disk.go_on()
    await write
    assert await early == 0
    await told.until(True, False)
    assert await database.write(count_heads) == 0


async def test_read_that_stalls_refuses_further_ones_at_once_until_it_goes_on(
    database: Database, clock: Clock, disk: StalledDisk
) -> None:
    told = Told(database)
    read = asyncio.create_task(database.read(disk.stall))
    await disk.stalls()
    read.cancel()  # its caller leaves, which its thread cannot
    clock.jump()
    clock.fire()
    await check_refused(database.read(count_heads))
    assert await database.write(count_heads) == 0
    disk.go_on()
    await told.until(True, False)
    assert await database.read(count_heads) == 0


async def test_emptying_the_journal_that_stalls_is_noticed_too(
    database: Database, clock: Clock, disk: StalledDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(database)
    with monkeypatch.context() as patch:
        patch.setattr("service.store.sqlite.engines.checkpoint", disk.stall)
        emptying = asyncio.create_task(database.checkpoint())
        await disk.stalls()
        clock.jump()
        clock.fire()
        await check_refused(database.write(count_heads))
        disk.go_on()
        await emptying
    await told.until(True, False)
    assert await database.write(count_heads) == 0


async def test_long_work_that_moves_on_is_no_stall(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalls, "STEPS", 10)
    database = open_database(tmp_path)
    told = Told(database)
    loop = asyncio.get_running_loop()
    half, most = asyncio.Event(), asyncio.Event()
    jumped, fired = threading.Event(), threading.Event()
    rows = 0

    def more() -> bool:
        nonlocal rows
        rows += 1
        for row, reached, goes_on in ((ROWS // 2, half, jumped), (ROWS - 1, most, fired)):
            if rows == row:
                loop.call_soon_threadsafe(reached.set)
                assert goes_on.wait(60)
        return rows < ROWS

    def read_long(connection: Connection) -> None:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.create_function("more", 0, more)
        query = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT 1 FROM c WHERE more()) "
        connection.execute(text(query + "SELECT count(*) FROM c")).scalar_one()

    try:
        read = asyncio.create_task(database.read(read_long))
        await half.wait()
        clock.jump()
        jumped.set()
        await most.wait()
        clock.fire()
        assert told.all == []
        fired.set()
        await read
    finally:
        jumped.set()
        fired.set()
        database.close()
