"""Transactions: one writer, groups, a lock, and the schema."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select, text

from service.errors import (
    DataDirectoryLocked,
    DataDirectoryTooNew,
    NotFound,
    StoreFailed,
    Unavailable,
)
from service.store import Database, schema
from service.store.changes import changed_in
from service.store.jobs import unfinished_jobs
from service.store.sqlite import SqliteDatabase
from service.store.upgrade import migrate
from service.store.versions import get_version
from tests.service.store.earlier_stores import store_of


def add_tenant(connection: Connection, name: str) -> int:
    added = schema.tenants.insert().values(name=name, created_at=0.0)
    return int(connection.execute(added.returning(schema.tenants.c.id)).scalar_one())


def tenant_names(connection: Connection) -> Sequence[str]:
    return connection.scalars(select(schema.tenants.c.name).order_by(schema.tenants.c.name)).all()


def fail(connection: Connection, error: Exception) -> None:
    add_tenant(connection, "half-made")
    raise error


class Blocker:
    """Holds the writer, so that what is written meanwhile is committed in one group."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entered = threading.Event()
        self._release = threading.Event()

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._database.write(self._block))
        assert await asyncio.to_thread(self._entered.wait, 60)

    async def __aexit__(self, *_: object) -> None:
        self._release.set()
        await self._task

    def _block(self, connection: Connection) -> None:
        self._entered.set()
        assert self._release.wait(60)


def test_migrations_make_exactly_the_tables_of_the_schema() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        differences = compare_metadata(context, schema.metadata)
    engine.dispose()
    assert differences == []


def test_versions_of_an_earlier_release_know_their_backbone_after_migrating(
    tmp_path: Path,
) -> None:
    with store_of("0002", tmp_path) as connection:
        for statement in (
            "INSERT INTO tenants (id, name, created_at) VALUES (1, 'acme', 0)",
            "INSERT INTO heads (uid, tenant_id, name, backbone, fingerprint, spec, keep_inputs, "
            "active_version, last_version, created_at) "
            "VALUES ('one', 1, 'defects', 'tiny/text', 'abc', '{}', 1, 1, 1, 0)",
            "INSERT INTO versions VALUES ('one', 1, 'training', '[]', '{}', 0, x'', 0)",
            "INSERT INTO jobs VALUES ('job', 'one', 'queued', '{}', 1, 0, '', '', 0, NULL)",
        ):
            connection.exec_driver_sql(statement)
    database = SqliteDatabase(tmp_path)
    with database._read_engine.connect() as connection:
        version = get_version(connection, "one", 1)
        (job,) = unfinished_jobs(connection)
    database.close()
    assert (version.backbone, version.base_fingerprint) == ("tiny/text", "abc")
    assert version.tail is None
    assert job.backbone is None


def test_store_of_a_later_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    SqliteDatabase(tmp_path).close()
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'trunkline.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(DataDirectoryTooNew, match="schema 9999, this release knows them up to"):
        SqliteDatabase(tmp_path)


def contents(engine: sqlalchemy.Engine) -> list[Sequence[Any]]:
    """The statements that make the tables, and the rows of each."""
    with engine.connect() as connection:
        made = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master ORDER BY name").all()
        tables = sqlalchemy.inspect(connection).get_table_names()
        rows = [connection.exec_driver_sql(f'SELECT * FROM "{name}"').all() for name in tables]
    return [made, *rows]


def test_migrating_twice_changes_nothing() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    migrate(engine)
    with engine.begin() as connection:
        add_tenant(connection, "acme")
    before = contents(engine)
    migrate(engine)
    assert contents(engine) == before
    engine.dispose()


async def test_acknowledged_is_on_disk_and_deleted_is_overwritten(
    sqlite_database: SqliteDatabase,
) -> None:
    def pragmas(connection: Connection) -> dict[str, Any]:
        names = ("synchronous", "journal_mode", "secure_delete", "foreign_keys")
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}

    full = 2
    assert await sqlite_database.write(pragmas) == {
        "synchronous": full,
        "journal_mode": "wal",
        "secure_delete": 1,
        "foreign_keys": 1,
    }


async def test_what_was_written_is_read(database: Database) -> None:
    await database.write(add_tenant, "acme")
    assert await database.read(tenant_names) == ["acme"]


async def test_what_was_written_survives_reopening(tmp_path: Path) -> None:
    first = SqliteDatabase(tmp_path)
    await first.write(add_tenant, "acme")
    first.close()
    second = SqliteDatabase(tmp_path)
    assert await second.read(tenant_names) == ["acme"]
    second.close()


async def test_second_server_on_the_same_directory_is_refused(
    database: Database, tmp_path: Path
) -> None:
    with pytest.raises(DataDirectoryLocked, match="in use by another server") as caught:
        SqliteDatabase(tmp_path / "data")
    assert caught.value.field == "data_dir"
    await database.write(add_tenant, "acme")


def test_directory_is_free_again_after_closing(tmp_path: Path) -> None:
    for _ in range(2):
        database = SqliteDatabase(tmp_path)
        database.close()
        database.close()


async def test_failing_function_rolls_back_itself_alone(database: Database) -> None:
    async with Blocker(database):
        writes = [
            asyncio.create_task(database.write(add_tenant, "before")),
            asyncio.create_task(database.write(fail, NotFound("no head"))),
            asyncio.create_task(database.write(fail, ValueError("a fault"))),
            asyncio.create_task(database.write(add_tenant, "after")),
        ]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, NotFound, ValueError, int]
    assert await database.read(tenant_names) == ["after", "before"]


async def test_error_of_the_database_fails_its_function_alone_and_tells_no_sql(
    database: Database,
) -> None:
    async with Blocker(database):
        writes = [
            asyncio.create_task(database.write(add_tenant, name))
            for name in ("acme", "acme", "bolt")
        ]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    (refused,) = (outcome for outcome in outcomes[:2] if not isinstance(outcome, int))
    assert isinstance(refused, StoreFailed)
    assert "INSERT" not in str(refused)
    assert await database.read(tenant_names) == ["acme", "bolt"]


async def test_failing_read_is_an_error_of_the_store(database: Database) -> None:
    def read_nothing(connection: Connection) -> None:
        connection.execute(sqlalchemy.text("SELECT * FROM nowhere"))

    with pytest.raises(StoreFailed):
        await database.read(read_nothing)


async def test_many_writers_lose_nothing(database: Database) -> None:
    names = [f"tenant-{i:03}" for i in range(300)]
    await asyncio.gather(*(database.write(add_tenant, name) for name in names))
    assert await database.read(tenant_names) == names


async def test_readers_are_not_kept_waiting_by_a_writer(database: Database) -> None:
    await database.write(add_tenant, "acme")
    async with Blocker(database):
        assert await database.read(tenant_names) == ["acme"]


async def test_reading_function_cannot_see_half_a_group(database: Database) -> None:
    written = asyncio.Event()
    loop = asyncio.get_running_loop()
    release = threading.Event()

    def write_slowly(connection: Connection) -> None:
        add_tenant(connection, "one")
        loop.call_soon_threadsafe(written.set)
        assert release.wait(60)
        add_tenant(connection, "two")

    writing = asyncio.create_task(database.write(write_slowly))
    await written.wait()
    assert await database.read(tenant_names) == []
    release.set()
    await writing
    assert await database.read(tenant_names) == ["one", "two"]


async def test_cancelled_caller_does_not_undo_its_write(database: Database) -> None:
    async with Blocker(database):
        write = asyncio.create_task(database.write(add_tenant, "acme"))
        await asyncio.sleep(0)
        write.cancel()
        await asyncio.gather(write, return_exceptions=True)
    await database.write(add_tenant, "bolt")
    assert await database.read(tenant_names) == ["acme", "bolt"]


def change(connection: Connection, uid: str) -> None:
    changed_in(connection).live.add(uid)


async def test_who_follows_is_told_of_a_write_before_its_caller_goes_on(
    database: Database,
) -> None:
    told: list[set[str]] = []
    database.follow(lambda changed: told.append(changed.live))
    for uid in ("one", "two"):
        await database.write(change, uid)
        assert told[-1] == {uid}
    with pytest.raises(NotFound):
        await database.write(fail, NotFound("x"))
    assert told == [{"one"}, {"two"}]


async def test_who_follows_is_told_of_a_write_whose_caller_was_cancelled(
    database: Database,
) -> None:
    told: list[set[str]] = []
    database.follow(lambda changed: told.append(changed.live))
    async with Blocker(database):
        writing = asyncio.create_task(database.write(change, "one"))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])
    await database.write(change, "two")
    assert [uids for uids in told if uids] == [{"one"}, {"two"}]


async def test_closing_commits_what_is_queued_and_refuses_what_comes_later(
    tmp_path: Path,
) -> None:
    database = SqliteDatabase(tmp_path)
    async with Blocker(database):
        write = asyncio.create_task(database.write(add_tenant, "acme"))
        await asyncio.sleep(0)
    await asyncio.to_thread(database.close)
    await write
    with pytest.raises(Unavailable):
        await database.write(add_tenant, "late")
    again = SqliteDatabase(tmp_path)
    assert await again.read(tenant_names) == ["acme"]
    again.close()


def journal(path: Path) -> bytes:
    found = path / "trunkline.db-wal"
    return found.read_bytes() if found.exists() else b""


async def test_checkpoint_empties_the_journal(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path)
    try:
        await database.write(add_tenant, "a-name-that-can-be-found")
        assert b"a-name-that-can-be-found" in journal(tmp_path)
        await database.checkpoint()
        assert journal(tmp_path) == b""
        assert b"a-name-that-can-be-found" in (tmp_path / "trunkline.db").read_bytes()
    finally:
        database.close()


async def test_checkpoint_says_so_if_a_reader_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.sqlite.engines.BUSY_TIMEOUT_SECONDS", 0)
    database = SqliteDatabase(tmp_path)
    reading, done = threading.Event(), threading.Event()

    def read_slowly(connection: Connection) -> None:
        connection.execute(text("SELECT count(*) FROM heads")).all()
        reading.set()
        done.wait(60)

    try:
        slow = asyncio.create_task(database.read(read_slowly))
        await asyncio.to_thread(reading.wait, 60)
        await database.write(add_tenant, "new")
        with pytest.raises(Unavailable):
            await database.checkpoint()
        done.set()
        await slow
        await database.checkpoint()
        assert journal(tmp_path) == b""
    finally:
        done.set()
        database.close()


async def test_writes_go_on_while_a_checkpoint_waits_for_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.sqlite.engines.PATIENCE_SECONDS", 1)
    database = SqliteDatabase(tmp_path)
    reader = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'trunkline.db'}")
    try:
        await database.write(add_tenant, "first")
        with reader.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            assert tenant_names(connection) == ["first"]
            emptying = asyncio.create_task(database.checkpoint())
            for name in ("second", "third"):
                await database.write(add_tenant, name)
            assert not emptying.done()
        await emptying
        assert (tmp_path / "trunkline.db-wal").stat().st_size == 0
    finally:
        reader.dispose()
        database.close()


async def test_checkpoints_at_once_and_beside_commits_lose_nothing_and_leave_an_empty_journal(
    database: Database, tmp_path: Path
) -> None:
    for group in range(10):
        await asyncio.gather(
            *(database.checkpoint() for _ in range(4)),
            *(database.write(add_tenant, f"tenant-{group}-{i}") for i in range(20)),
        )
    assert len(await database.read(tenant_names)) == 200
    await database.checkpoint()
    assert journal(tmp_path / "data") == b""
