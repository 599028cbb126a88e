"""An operator's key made in the store itself, for whoever has lost every key."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from sqlalchemy import URL, Connection

from service.access.key_text import hash_of, new_text
from service.access.operator_key import add_operator_key
from service.errors import DataDirectoryLocked, PreconditionFailed
from service.store import keys as stored_keys
from service.store import open_database
from service.store.change_feed import append_change
from service.store.changes import changed_in
from service.store.data_directory import FILE
from service.store.keys import KeyRecord
from service.store.sqlite import engines

COMMAND = "keys create"
"""Who writes the change, in the place of a server."""


def create_operator_key(
    place: Path | URL, note: str, lifetime_seconds: float | None
) -> tuple[KeyRecord, str]:
    """Makes a key, whether a server has the store or not; returns it, and its text.

    Args:
        place: a data directory, or the address of a PostgreSQL database, whose servers learn of it.

    Raises:
        StartupError: the store cannot be used.
        PreconditionFailed: a server has the data directory that asks nobody for a key: it would not
            learn of one.
    """
    text = new_text()
    key_hash = hash_of(text)
    expires_at = None if lifetime_seconds is None else time.time() + lifetime_seconds
    with tempfile.TemporaryDirectory() as unused:
        try:
            if isinstance(place, Path):
                database = open_database(place)
            else:
                database = open_database(Path(unused), place)
        except DataDirectoryLocked:
            if not isinstance(place, Path):
                raise
            return _beside_server(place, key_hash, note, expires_at), text
        try:
            record = asyncio.run(database.write(_add_and_tell, key_hash, note, expires_at))
        finally:
            database.close()
    return record, text


def _add_and_tell(
    connection: Connection, key_hash: bytes, note: str, expires_at: float | None
) -> KeyRecord:
    """Adds a key, and lets servers that share the store know of it."""
    record = add_operator_key(connection, key_hash, note, expires_at)
    if connection.dialect.name == "postgresql":
        append_change(connection, COMMAND, changed_in(connection))
    return record


def _beside_server(folder: Path, key_hash: bytes, note: str, expires_at: float | None) -> KeyRecord:
    engine = engines.open_engine(f"sqlite:///{folder / FILE}", begin="BEGIN IMMEDIATE")
    try:
        with engine.begin() as connection:
            if not stored_keys.has_keys(connection):
                raise PreconditionFailed(
                    "data_dir: a server has the store, and there is no key yet: make the first "
                    "one through it, without --data-dir",
                    field="data_dir",
                    limit="a store with keys, or without a server",
                )
            return add_operator_key(connection, key_hash, note, expires_at)
    finally:
        engine.dispose()
