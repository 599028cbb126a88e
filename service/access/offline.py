"""An operator's key made in the store itself, for whoever has lost every key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from service.access.caller import Role
from service.access.key_text import hash_of, new_text
from service.errors import DataDirectoryLocked, PreconditionFailed
from service.store import Database, engines
from service.store import keys as stored_keys
from service.store.examination import FILE
from service.store.keys import KeyRecord


def create_operator_key(
    data_dir: Path, note: str, lifetime_seconds: float | None
) -> tuple[KeyRecord, str]:
    """Makes a key, whether a server has the store or not; returns it, and its text.

    Raises:
        StartupError: the store cannot be used.
        PreconditionFailed: a server has it that asks nobody for a key: it would not learn of one.
    """
    text = new_text()
    expires_at = None if lifetime_seconds is None else time.time() + lifetime_seconds
    add = partial(
        stored_keys.add_key,
        key_hash=hash_of(text),
        tenant=None,
        roles=[Role.OPERATE],
        note=note,
        expires_at=expires_at,
    )
    try:
        database = Database(data_dir)
    except DataDirectoryLocked:
        return _beside_server(data_dir, add), text
    try:
        record = asyncio.run(database.write(add))
    finally:
        database.close()
    return record, text


def _beside_server(data_dir: Path, add: Callable[[Connection], KeyRecord]) -> KeyRecord:
    engine = engines.open_engine(f"sqlite:///{data_dir / FILE}", begin="BEGIN IMMEDIATE")
    try:
        with engine.begin() as connection:
            if not stored_keys.has_keys(connection):
                raise PreconditionFailed(
                    f"data_dir: a server has {data_dir}, and there is no key yet: make the first "
                    "one through it, without --data-dir",
                    field="data_dir",
                    limit="a store with keys, or without a server",
                    value=data_dir,
                )
            return add(connection)
    finally:
        engine.dispose()
