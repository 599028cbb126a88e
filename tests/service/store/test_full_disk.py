"""A full disk: what is there is served and can be deleted, what would grow is refused."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from sqlalchemy import Connection

from service.errors import DataDirectoryUnreadable, StoreFull
from service.store import Database, examples
from service.store.heads import delete_head
from service.store.sqlite import SqliteDatabase
from service.store.sqlite.reserve import Reserve
from tests.service.disk_limits import files_up_to
from tests.service.server import HEAD, InProcessServer, import_request, texts
from tests.service.store.records import add_examples, example, new_head
from tests.service.store.stalling import StalledDisk
from trunkline.digest import text_digest
from trunkline.v1 import heads_pb2

LONG = "x" * 100_000
COUNT = "SELECT count(*) FROM examples"


def count(connection: Connection) -> int:
    return int(connection.exec_driver_sql(COUNT).scalar_one())


def long_example(number: int) -> examples.NewExample:
    return example(f"{number} {LONG}", "a", keep=True)


@pytest.fixture
def database(sqlite_database: SqliteDatabase) -> SqliteDatabase:
    return sqlite_database


@pytest.fixture
async def full(database: Database) -> tuple[Database, str]:
    """A store with ten large examples whose file may not grow; its head's uid."""
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, *map(long_example, range(10)))

    def freeze(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    await database.write(freeze)
    return database, head.uid


async def test_what_makes_the_store_grow_is_refused_and_changes_nothing(
    full: tuple[Database, str],
) -> None:
    database, uid = full
    with pytest.raises(StoreFull, match="the disk is full") as refused:
        await database.write(add_examples, uid, long_example(10))
    assert (refused.value.field, refused.value.retry_after) == ("data_dir", None)
    assert await database.read(count) == 10


async def test_deleting_makes_room_for_as_much(full: tuple[Database, str]) -> None:
    database, uid = full
    for number in (0, 1):
        await database.write(examples.delete_example, uid, text_digest(f"{number} {LONG}"))
    await database.write(add_examples, uid, long_example(11))  # a page of an index may stay taken
    with pytest.raises(StoreFull):
        await database.write(add_examples, uid, long_example(12), long_example(13))
    await database.write(delete_head, "acme", "defects")
    assert await database.read(count) == 0


async def test_write_that_grows_costs_none_of_those_beside_it(full: tuple[Database, str]) -> None:
    database, uid = full
    outcomes = await asyncio.gather(
        database.write(add_examples, uid, long_example(13), long_example(14)),
        database.write(examples.delete_example, uid, text_digest(f"1 {LONG}")),
        database.write(new_head, "second"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], StoreFull)
    assert [isinstance(outcome, Exception) for outcome in outcomes[1:]] == [False, False]
    assert await database.read(count) == 9


def crashed(tmp_path: Path, empty_store: Path) -> Path:
    """A store whose journal holds more than its file has room for."""
    folder, aside = tmp_path / "store", tmp_path / "aside"
    aside.mkdir()
    shutil.copy(empty_store, aside)
    with closing(sqlite3.connect(aside / "trunkline.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("INSERT INTO tenants (id, name, created_at) VALUES (1, ?, 0)", (LONG * 5,))
        shutil.copytree(aside, folder)
    return folder


async def test_start_on_a_full_disk_serves_what_is_in_the_journal_and_says_so(
    tmp_path: Path, empty_store: Path
) -> None:
    folder = crashed(tmp_path, empty_store)
    with files_up_to((folder / "trunkline.db").stat().st_size):
        database = SqliteDatabase(folder)
        try:
            query = "SELECT length(name) FROM tenants"
            found = await database.read(lambda c: c.exec_driver_sql(query).scalar_one())
            assert found == len(LONG) * 5
            assert database.reserve.full
            with pytest.raises(StoreFull):
                await database.write(new_head)
        finally:
            database.close()
    database = SqliteDatabase(folder)
    try:
        await database.write(new_head)
        assert not database.reserve.full
    finally:
        database.close()


def test_store_that_must_be_upgraded_and_finds_no_room_is_refused_in_one_sentence(
    tmp_path: Path,
) -> None:
    with (
        files_up_to(4096),
        pytest.raises(DataDirectoryUnreadable, match="there is no room on its disk to open it"),
    ):
        SqliteDatabase(tmp_path / "data")


async def test_server_on_a_full_disk_predicts_says_so_and_recovers(
    server: InProcessServer,
) -> None:
    await server.ask("ImportHead", import_request())
    with files_up_to(4096):
        with pytest.raises(StoreFull):
            await server.create("tenants/acme/heads/second")
        assert len((await server.predict(*texts("known"), head=HEAD)).predictions) == 1
        assert server.application.readiness.detail().startswith("the disk is full")
        assert "trunkline_disk_full 1.0" in metrics(server)
        assert server.application.readiness.ready
    await asyncio.to_thread(looked, reserve_of(server))
    server.application.readiness.detail()  # whoever asks has a thread look again
    await asyncio.to_thread(looked, reserve_of(server))
    assert "trunkline_disk_full 0.0" in metrics(server)
    assert server.application.readiness.detail() == ""
    await server.create("tenants/acme/heads/second")
    await server.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=HEAD))


def reserve_of(server: InProcessServer) -> Reserve:
    assert isinstance(server.application._database, SqliteDatabase)
    return server.application._database.reserve


def looked(reserve: Reserve) -> None:
    """Waits until the thread that looks at the disk has nothing to do."""
    reserve._thread.submit(lambda: None).result(60)


async def test_disk_that_is_full_and_then_stalls_holds_up_neither_readiness_nor_metrics(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve, disk = reserve_of(server), StalledDisk()
    with files_up_to(4096), pytest.raises(StoreFull):
        await server.create("tenants/acme/heads/second")
    loop_thread, real = threading.get_ident(), os.posix_fallocate

    def allocate(descriptor: int, offset: int, size: int) -> None:
        assert threading.get_ident() != loop_thread, "the event loop waits for the disk"
        disk.stall()
        real(descriptor, offset, size)

    def size_of(path: Path) -> os.stat_result:
        raise AssertionError(f"{path} is looked at by the event loop")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", allocate)
        patch.setattr(Path, "stat", size_of)
        for _ in range(3):
            assert server.application.readiness.detail().startswith("the disk is full")
            assert "trunkline_disk_full 1.0" in metrics(server)
        await disk.stalls()
        disk.go_on()
        await asyncio.to_thread(looked, reserve)
        assert server.application.readiness.detail() == ""
        assert "trunkline_disk_full 0.0" in metrics(server)
        assert "trunkline_disk_reserve_bytes 1.048576e+06" in metrics(server)
    assert reserve.nbytes == (server.application._data_dir / "reserve").stat().st_size


def metrics(server: InProcessServer) -> str:
    return generate_latest(server.application.metrics.registry).decode()
