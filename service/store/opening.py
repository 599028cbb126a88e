"""Opens the store that the settings name."""

from __future__ import annotations

from pathlib import Path

from service.store.database import Database
from service.store.sqlite.database import SqliteDatabase
from service.store.sqlite.reserve import MIB


def open_database(
    data_dir: Path,
    *,
    new_store: bool = False,
    reserve_bytes: int = MIB,
    lock: int | None = None,
) -> Database:
    """Opens the store of a data directory, which is made if it is missing.

    Args:
        new_store: begin with an empty store, although files of an earlier one lie there.
        reserve_bytes: room on the disk that is kept for deletions.
        lock: of the directory, held by the process that has prepared the store for several.

    Raises:
        StartupError: the store cannot be used, or another server has it.
    """
    return SqliteDatabase(data_dir, new_store=new_store, reserve_bytes=reserve_bytes, lock=lock)
