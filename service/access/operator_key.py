"""The first key of a server, which an operator finds in a file."""

from __future__ import annotations

import os
import time
from pathlib import Path

from sqlalchemy import Connection

from service.access.caller import Role
from service.access.key_text import hash_of, new_text
from service.errors import StartupError
from service.logs import get_logger
from service.store import Database
from service.store import keys as stored_keys
from service.store.audit import AuditRow, add_audit_rows
from service.store.keys import KeyRecord

FILE = "operator.key"

log = get_logger(__name__)


async def ensure_key(database: Database, data_dir: Path) -> None:
    """Makes an operator's key if there never was a key, and says in which file it is.

    The log has no key: what is printed ends in journals. The file is written first, so that no key
    is in the store that nobody knows.

    Raises:
        StartupError: the file cannot be written.
    """
    if await database.read(stored_keys.has_keys):
        return
    text, path = new_text(), data_dir / FILE
    _write(path, text)
    if await database.write(_add_first, hash_of(text)):
        log.warning("an operator's key was made", file=str(path.absolute()))
    else:  # another server of the store was first
        path.unlink()


def is_stale(connection: Connection, data_dir: Path) -> bool:
    """Returns whether the file has a key that a store does not take, as it is of another store."""
    try:
        text = (data_dir / FILE).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return False
    record = stored_keys.find_key(connection, hash_of(text))
    return record is None or not record.is_good(time.time())


def add_operator_key(
    connection: Connection, key_hash: bytes, note: str, expires_at: float | None = None
) -> KeyRecord:
    """Stores a key that may do everything, and notes it: no call tells of it."""
    record = stored_keys.add_key(
        connection, key_hash, tenant=None, roles=[Role.OPERATE], note=note, expires_at=expires_at
    )
    add_audit_rows(
        connection,
        [AuditRow(record.created_at, "", "", "CreateKey", record.name, "OK", "", "store", "")],
    )
    return record


def _add_first(connection: Connection, key_hash: bytes) -> bool:
    """Stores an operator's key unless there is a key; returns whether it did."""
    if stored_keys.has_keys(connection):
        return False
    add_operator_key(connection, key_hash, "made at the first start")
    return True


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(descriptor)
        part.replace(path)
    except OSError as error:
        raise StartupError(f"{path} cannot be written: {error.strerror}") from error
