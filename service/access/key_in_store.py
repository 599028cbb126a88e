"""An operator's key made in the store itself, for whoever has lost every key."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from sqlalchemy import URL, Engine

from service.access.key_text import hash_of, new_text
from service.access.operator_key import add_operator_key
from service.errors import DataDirectoryLocked, PreconditionFailed
from service.store import keys as stored_keys
from service.store import open_database
from service.store.data_directory import FILE
from service.store.keys import KeyRecord
from service.store.sqlite import engines


def create_operator_key(
    place: Path | URL, note: str, lifetime_seconds: float | None
) -> tuple[KeyRecord, str]:
    """Makes a key, whether a server has the store or not; returns it, and its text.

    Args:
        place: a data directory, or the address of a PostgreSQL database.

    Raises:
        StartupError: the store cannot be used.
        PreconditionFailed: a server has it that asks nobody for a key: it would not learn of one.
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
            return _beside_server(place, key_hash, note, expires_at), text
        try:
            record = asyncio.run(database.write(add_operator_key, key_hash, note, expires_at))
        finally:
            database.close()
    return record, text


def _beside_server(
    place: Path | URL, key_hash: bytes, note: str, expires_at: float | None
) -> KeyRecord:
    engine = _engine(place)
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


def _engine(place: Path | URL) -> Engine:
    if isinstance(place, Path):
        return engines.open_engine(f"sqlite:///{place / FILE}", begin="BEGIN IMMEDIATE")
    from service.store.postgres.engines import open_engine  # a file needs no psycopg

    return open_engine(place)
