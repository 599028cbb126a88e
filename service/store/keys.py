"""Keys of callers: what they may do, and a hash of their text."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from service.errors import NotFound
from service.store import schema
from service.store.changes import changed_in
from service.store.heads import tenant_id_of

_COLUMNS = (*schema.access_keys.c, schema.tenants.c.name.label("tenant"))
_KEYS = select(*_COLUMNS).select_from(schema.access_keys.outerjoin(schema.tenants))
_HOUR = 3600


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as stored.

    Attributes:
        number: what lists are ordered by.
        tenant: None for an operator's key.
        roles: names of roles.
        heads: patterns of the heads that it is good for; empty for all.
        expires_at, revoked_at: None if it does not expire, is not revoked.
        used_at: the beginning of the hour in which it was used last; None if it never was.
    """

    id: str
    number: int
    tenant: str | None
    roles: tuple[str, ...]
    heads: tuple[str, ...]
    note: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None

    @property
    def name(self) -> str:
        """``keys/{id}``."""
        return f"keys/{self.id}"

    def is_good(self, now: float) -> bool:
        """Returns whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def add_key(
    connection: Connection,
    key_hash: bytes,
    *,
    tenant: str | None,
    roles: Sequence[str],
    heads: Sequence[str] = (),
    note: str = "",
    expires_at: float | None = None,
) -> KeyRecord:
    """Stores a key, and its tenant with what is its first."""
    key_id = uuid.uuid4().hex
    connection.execute(
        insert(schema.access_keys).values(
            id=key_id,
            hash=key_hash,
            tenant_id=None if tenant is None else tenant_id_of(connection, tenant),
            roles=",".join(roles),
            heads=",".join(heads),
            note=note,
            created_at=time.time(),
            expires_at=expires_at,
        )
    )
    changed_in(connection).keys.add(key_id)
    return get_key(connection, key_id)


def has_keys(connection: Connection) -> bool:
    """Returns whether there ever was a key: one that is revoked counts, too."""
    return bool(connection.scalar(select(func.count()).select_from(schema.access_keys)))


def find_key(connection: Connection, key_hash: bytes) -> KeyRecord | None:
    """Returns the key of this hash, in use or not."""
    return _one(connection, _KEYS.where(schema.access_keys.c.hash == key_hash))


def is_in_use(connection: Connection, key_id: str, now: float) -> bool:
    """Returns whether there is a key with this id that is good."""
    record = _one(connection, _KEYS.where(schema.access_keys.c.id == key_id))
    return record is not None and record.is_good(now)


def get_key(connection: Connection, key_id: str, tenant: str | None = None) -> KeyRecord:
    """Returns the key with this id.

    Args:
        tenant: whose it must be; None for anybody's.

    Raises:
        NotFound: there is none.
    """
    query = _KEYS.where(schema.access_keys.c.id == key_id)
    if tenant is not None:
        query = query.where(schema.tenants.c.name == tenant)
    record = _one(connection, query)
    if record is None:
        raise no_key(key_id)
    return record


def no_key(key_id: str) -> NotFound:
    """Returns the error of a key that does not exist, or that the caller may not see."""
    return NotFound.at("name", "there is no {value}", value=f"keys/{key_id}")


def list_keys(
    connection: Connection, tenant: str | None, after: int, limit: int
) -> list[KeyRecord]:
    """Returns keys in the order in which they were made.

    Args:
        tenant: whose; None for those of all, and of operators.
        after: number of the last key of the page before.
    """
    query = _KEYS.where(schema.access_keys.c.number > after)
    if tenant is not None:
        query = query.where(schema.tenants.c.name == tenant)
    query = query.order_by(schema.access_keys.c.number).limit(limit)
    return [_record(row._mapping) for row in connection.execute(query)]


def revoke_key(connection: Connection, key_id: str) -> KeyRecord:
    """Takes a key out of use; one that is revoked already stays as it is.

    Raises:
        NotFound: there is none.
    """
    if get_key(connection, key_id).revoked_at is None:
        _change(connection, key_id, revoked_at=time.time())
    return get_key(connection, key_id)


def rotate_key(
    connection: Connection, key_id: str, key_hash: bytes, old_until: float
) -> tuple[KeyRecord, KeyRecord]:
    """Stores a key that may do what another may; returns it, and the other.

    Args:
        old_until: when the other expires, if it does not before.

    Raises:
        NotFound: there is none.
    """
    old = get_key(connection, key_id)
    new = add_key(
        connection,
        key_hash,
        tenant=old.tenant,
        roles=old.roles,
        heads=old.heads,
        note=old.note,
        expires_at=old.expires_at,
    )
    _change(connection, key_id, expires_at=min(old_until, old.expires_at or old_until))
    return new, get_key(connection, key_id)


def note_use(connection: Connection, key_id: str, now: float) -> None:
    """Notes that a key was used, by the hour."""
    table = schema.access_keys
    hour = now - now % _HOUR
    connection.execute(update(table).where(table.c.id == key_id).values(used_at=hour))


def _change(connection: Connection, key_id: str, **values: Any) -> None:
    table = schema.access_keys
    connection.execute(update(table).where(table.c.id == key_id).values(**values))
    changed_in(connection).keys.add(key_id)


def _one(connection: Connection, query: Select[Any]) -> KeyRecord | None:
    row = connection.execute(query).one_or_none()
    return None if row is None else _record(row._mapping)


def _record(row: Any) -> KeyRecord:
    return KeyRecord(
        id=row["id"],
        number=row["number"],
        tenant=row["tenant"],
        roles=_parts(row["roles"]),
        heads=_parts(row["heads"]),
        note=row["note"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        used_at=row["used_at"],
    )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()
