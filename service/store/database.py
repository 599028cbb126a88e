"""Transactions on SQLite, off the event loop.

All writes go through one thread, which commits whatever has gathered while the last commit was
on its way to the disk: one fsync for many writers. A write is acknowledged after its commit.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event

from service.errors import (
    DataDirectoryLocked,
    DataDirectoryTooNew,
    ServiceError,
    StoreFailed,
    Unavailable,
)

P = ParamSpec("P")
R = TypeVar("R")

READER_THREADS = 4
MAX_GROUP = 256
BUSY_TIMEOUT_SECONDS = 30
FILE = "trunkline.db"
MIGRATIONS = Path(__file__).parent / "migrations"

_Job = tuple[Callable[[Connection], Any], Future[Any]]


class Database:
    """The store of one data directory, locked against a second server.

    Args:
        data_dir: is made if it is missing.

    Attributes:
        joined_labels: by the names of heads, how many stored labels became one with another when
            labels were normalised, if that was done now.

    Raises:
        DataDirectoryLocked: another server has it.
        DataDirectoryTooNew: a later release has written it.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir.chmod(0o700)  # other users of the machine are no tenants
        self._lock = _lock_directory(data_dir)
        url = f"sqlite:///{data_dir / FILE}"
        self._write_engine = _engine(url, begin="BEGIN IMMEDIATE")
        self._read_engine = _engine(url, begin="BEGIN")
        try:
            self.joined_labels = migrate(self._write_engine)
            _checkpoint(self._write_engine)  # the last server may have died before it could
        except Exception:
            self._write_engine.dispose()
            os.close(self._lock)
            raise
        # SQLite refuses a checkpoint at once while another runs, such as one that a commit brings.
        self._writing = threading.Lock()
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="store-reader")
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._writer = threading.Thread(target=self._write_groups, name="store-writer")
        self._writer.start()

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Runs `function(connection, …)` in a read transaction."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._readers, lambda: self._read_now(lambda c: function(c, *args, **kwargs))
        )

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Runs `function(connection, …)` in a write transaction; returns after the commit.

        If the function raises, its own changes alone are rolled back. A cancelled caller does not
        undo it.
        """
        return await asyncio.shield(
            asyncio.wrap_future(self._enqueue(lambda c: function(c, *args, **kwargs)))
        )

    async def checkpoint(self) -> None:
        """Empties the journal, so that no byte of what was deleted is left on disk.

        Raises:
            Unavailable: readers were in the way for too long.
        """
        await asyncio.to_thread(self._checkpoint_now)

    def close(self) -> None:
        """Commits what is queued, then releases the directory."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        while not self._queue.empty():
            late = self._queue.get()
            if late is not None:
                late[1].set_exception(Unavailable("the server is shutting down", retry_after=1.0))
        self._readers.shutdown()
        self._read_engine.dispose()
        self._write_engine.dispose()
        os.close(self._lock)

    def _enqueue(self, function: Callable[[Connection], R]) -> Future[R]:
        if self._closed:
            raise Unavailable("the server is shutting down", retry_after=1.0)
        future: Future[R] = Future()
        self._queue.put((function, future))
        return future

    def _read_now(self, function: Callable[[Connection], R]) -> R:
        try:
            with self._read_engine.begin() as connection:
                return function(connection)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise StoreFailed("the store could not be read") from error

    def _checkpoint_now(self) -> None:
        with self._writing:
            _checkpoint(self._write_engine)

    def _write_groups(self) -> None:
        while (job := self._queue.get()) is not None:
            group = [job]
            last = False
            while len(group) < MAX_GROUP and not last and not self._queue.empty():
                following = self._queue.get()
                last = following is None
                if following is not None:
                    group.append(following)
            self._commit(group)
            if last:
                return

    def _commit(self, group: list[_Job]) -> None:
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self._writing, self._write_engine.begin() as connection:
                for function, future in group:
                    if future.set_running_or_notify_cancel():
                        outcomes.append((future, *_run_in_savepoint(connection, function)))
        except Exception as error:
            failure = StoreFailed("the store could not be written")
            failure.__cause__ = error
            outcomes = [(future, None, failure) for _, future in group if not future.cancelled()]
        for future, result, raised in outcomes:
            if raised is None:
                future.set_result(result)
            else:
                future.set_exception(raised)


def _run_in_savepoint(
    connection: Connection, function: Callable[[Connection], Any]
) -> tuple[Any, BaseException | None]:
    savepoint = connection.begin_nested()
    try:
        result = function(connection)
        savepoint.commit()
        return result, None
    except ServiceError as error:
        savepoint.rollback()
        return None, error
    except sqlalchemy.exc.SQLAlchemyError as error:
        savepoint.rollback()
        failure = StoreFailed("the store could not be written")
        failure.__cause__ = error
        return None, failure
    except Exception as error:
        savepoint.rollback()
        return None, error


def _engine(url: str, *, begin: str) -> Engine:
    engine = sqlalchemy.create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _checkpoint(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        return
    connection = engine.raw_connection()
    try:
        busy, _, _ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    if busy:
        raise Unavailable("the journal is being read; ask again", retry_after=1.0)


def migrate(engine: Engine) -> dict[str, int]:
    """Brings the schema to the newest revision; returns `Database.joined_labels`.

    Raises:
        DataDirectoryTooNew: it has one that is not known here.
    """
    config = _migrations()
    script = migration_script()
    with engine.begin() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        if found and found not in {known.revision for known in script.walk_revisions()}:
            newest = script.get_current_head()
            raise DataDirectoryTooNew(
                f"data_dir: its store has schema {found}, this release knows them up to {newest}; "
                "run the release that wrote it, or go back to a backup",
                field="data_dir",
                limit=newest,
                value=found,
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    joined: dict[str, int] = config.attributes.get("joined_labels", {})
    return joined


def migration_script() -> ScriptDirectory:
    """Returns the revisions of the schema that this release knows."""
    return ScriptDirectory.from_config(_migrations())


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _lock_directory(data_dir: Path) -> int:
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DataDirectoryLocked(
            f"data_dir: {data_dir} is in use by another server",
            field="data_dir",
            limit="one server",
            value=data_dir,
        ) from error
    return descriptor
