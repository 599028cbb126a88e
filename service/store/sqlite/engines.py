"""Connections to SQLite, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event

from service.errors import StoredDataDamaged, StoreFailed, Unavailable

BUSY_TIMEOUT_SECONDS = 30
PATIENCE_SECONDS = 2
"""Time that one attempt to empty the journal waits for readers; far less than a stall."""

SqliteError = (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError)

_FAILED_WRITES = {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
}


def open_engine(url: str, *, begin: str, files: bool = True) -> Engine:
    """Returns an engine on the store.

    Args:
        begin: the statement that begins its transactions.
        files: whether what a large transaction needs to roll back may lie in temporary files.
    """
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
            f"temp_store={'DEFAULT' if files else 'MEMORY'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def checkpoint(
    engine: Engine,
    step: Callable[[], None] = lambda: None,
    turn: AbstractContextManager[object] | None = None,
) -> None:
    """Moves the journal into the store, and empties it.

    Calls `step` now and then while readers are in the way.

    Args:
        turn: is entered for each attempt, so that writes have theirs in between.

    Raises:
        Unavailable: readers were in the way for too long.
        sqlite3.Error, sqlalchemy.exc.SQLAlchemyError: the disk is full, or fails.
    """
    if engine.dialect.name != "sqlite":
        return
    connection = engine.raw_connection()
    cursor = connection.cursor()
    patience = min(BUSY_TIMEOUT_SECONDS, PATIENCE_SECONDS)
    try:
        cursor.execute(f"PRAGMA busy_timeout={1000 * patience}")
        for _ in range(BUSY_TIMEOUT_SECONDS // PATIENCE_SECONDS or 1):
            with turn or nullcontext():
                busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            step()
            if not busy:
                break
        cursor.execute(f"PRAGMA busy_timeout={1000 * BUSY_TIMEOUT_SECONDS}")
    finally:
        connection.close()
    if busy:
        raise Unavailable("the journal is being read; ask again", retry_after=1.0)


def lacks_room(error: BaseException) -> bool:
    """Says whether a write failed for want of room, as far as SQLite tells.

    It tells a full disk by name. A quota, and a file system that fails or has become read-only, are
    failed writes to it (https://www.sqlite.org/rescode.html).
    """
    code = _code(error)
    return code == sqlite3.SQLITE_FULL or code in _FAILED_WRITES


def is_damage(error: BaseException) -> bool:
    """Says whether the store's own bytes are wrong, a text's that is no UTF-8 included."""
    if "decode to UTF-8" in words_of(error):  # Python says that, and gives no code
        return True
    return _code(error) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def as_failure(error: BaseException, what: str) -> StoreFailed:
    """Converts an error of SQLite; the client is told nothing of the statement.

    Args:
        what: the store could not be: `read` or `written`.
    """
    failure = StoreFailed(f"the store could not be {what}")
    if is_damage(error):
        failure = StoredDataDamaged(
            f"the store could not be {what}, since the file of the database is damaged; "
            "`trunkline check` says where"
        )
    failure.__cause__ = error
    return failure


def words_of(error: BaseException) -> str:
    """Returns what SQLite says, without the statement."""
    return str(getattr(error, "orig", None) or error)


def _code(error: BaseException) -> int:
    original = getattr(error, "orig", None) or error
    return int(getattr(original, "sqlite_errorcode", None) or 0)
