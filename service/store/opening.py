"""Opens the store that the settings name."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL

from service.store.data_directory import check_entries, check_lock
from service.store.database import Database
from service.store.sqlite import SqliteDatabase
from service.store.sqlite.examination import examine
from service.store.sqlite.reserve import MIB


def open_database(
    data_dir: Path,
    url: URL | None = None,
    password_file: Path | None = None,
    *,
    connections: int = 2,
    new_store: bool = False,
    reserve_bytes: int = MIB,
    lock: int | None = None,
) -> Database:
    """Opens the store of a server.

    Args:
        data_dir: for what is no record, and for the store if it is nowhere else; is made if it is
            missing.
        url: of the PostgreSQL database that has the store; None for a file in `data_dir`.
        password_file: has the password for it; None for what libpq finds by itself.
        connections: to it, at most.
        new_store: begin with an empty store, although files of an earlier one lie there.
        reserve_bytes: room on the disk that is kept for deletions, where the store is a file.
        lock: of the directory, held by the process that has prepared the store for several.

    Raises:
        StartupError: the store cannot be used, or another server has it.
    """
    if url is None:
        return SqliteDatabase(data_dir, new_store=new_store, reserve_bytes=reserve_bytes, lock=lock)
    from service.store.postgres import PostgresDatabase  # needs psycopg, which a file does not

    return PostgresDatabase(
        data_dir, url, password_file, connections=connections, new_store=new_store
    )


def examine_files(data_dir: Path, url: URL | None, *, new_store: bool = False) -> None:
    """Returns if a server can use the files of a data directory; arguments as above.

    Raises:
        StartupError: it cannot, or another server has them.
    """
    if url is None:
        examine(data_dir, new_store=new_store)
    else:
        check_entries(data_dir)
        check_lock(data_dir)
