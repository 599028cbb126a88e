"""Opening a store without changing, making or locking a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.pool import StaticPool

from service.errors import DataDirectoryUnreadable
from service.store.data_directory import FILE
from service.store.sqlite.engines import BUSY_TIMEOUT_SECONDS
from service.store.sqlite.examination import journal_is_sound

# https://www.sqlite.org/uri.html and https://www.sqlite.org/wal.html#read_only_databases
_NO_SERVER = "mode=ro&immutable=1"
_CRASHED_OR_LIVE = "mode=ro&readonly_shm=1"
_LIVE = "mode=ro"

IS_UTF8 = "is_utf8"
"""Name of the SQL function that tells whether a blob is UTF-8 text."""


@contextmanager
def open_read_only(folder: Path) -> Iterator[Connection]:
    """Opens the store of a data directory, whether a server has it or not.

    Raises:
        DataDirectoryUnreadable: there is none, or it cannot be read as it lies there.
    """
    path = folder / FILE
    if not path.is_file():
        raise _unreadable(folder, f"there is no {FILE} in it", "a data directory")
    engine = sqlalchemy.create_engine(
        "sqlite://", creator=lambda: _connect(path), poolclass=StaticPool
    )
    try:
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")
    finally:
        engine.dispose()


def has_journal(folder: Path) -> bool:
    """Says whether a server has the store open, or left it without closing it."""
    return (folder / f"{FILE}-wal").exists()


def _connect(path: Path) -> sqlite3.Connection:
    """Opens it with the fewest rights that will do.

    A server that closes its store removes the journal: without one nobody writes. A journal comes
    with an index in shared memory, which a reader need not write either, if there is an earlier
    mark of a reader in it.
    """
    journal, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    if not journal.exists() or (journal.stat().st_size == 0 and not index.exists()):
        return _open(path, _NO_SERVER)
    if not journal_is_sound(journal):  # a check says so, and the others look at what is left
        return _open(path, _NO_SERVER)
    if not index.exists():
        raise _unreadable(
            path.parent,
            f"{journal.name} lies in it without {index.name}, as in a copy of some files",
            "let a server open it first, or copy it with `trunkline backup`",
        )
    connection = _open(path, _CRASHED_OR_LIVE)
    try:
        with closing(connection.execute("SELECT count(*) FROM sqlite_master")) as rows:
            rows.fetchall()
    except sqlite3.OperationalError:
        connection.close()
        return _open(path, _LIVE)
    except sqlite3.DatabaseError:
        pass  # damage, which the checks report
    return connection


def _open(path: Path, how: str) -> sqlite3.Connection:
    address = f"file:{quote(str(path.absolute()))}?{how}"
    try:
        connection = sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_SECONDS)
    except sqlite3.Error as error:
        raise _unreadable(path.parent, str(error), "a store that can be read") from error
    # One damaged text is to be found, and to hide nothing else.
    connection.text_factory = lambda data: data.decode(errors="replace")
    connection.create_function(IS_UTF8, 1, _is_utf8, deterministic=True)
    return connection


def _is_utf8(data: bytes | None) -> bool:
    try:
        return data is None or data.decode() is not None
    except UnicodeDecodeError:
        return False


def _unreadable(folder: Path, why: str, limit: str) -> DataDirectoryUnreadable:
    return DataDirectoryUnreadable(
        f"data_dir: {folder} cannot be checked: {why} ({limit})",
        field="data_dir",
        limit=limit,
        value=folder,
    )
