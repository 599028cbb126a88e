"""Secrets that embeddings of a tenant are sealed with in a cache that several servers share.

What was sealed with a secret that is gone can be found and read by nobody, wherever its bytes still
lie. So whatever leaves the store renews the secrets that it may be sealed with, in its transaction.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from service.errors import no_tenant
from service.store import schema

SLOTS = 64
SECRET_BYTES = 16


@dataclass(frozen=True, slots=True)
class CacheSecrets:
    """What a tenant has in a shared cache is named and sealed with these.

    Attributes:
        tag: names what is not sealed; it stays the same as long as there is the tenant.
        slots: a secret for each slot of digests.
    """

    tag: bytes
    slots: tuple[bytes, ...]


def slot_of(digest: str) -> int:
    """Returns the slot of an input's digest, which is that of its views' digests, too."""
    return zlib.crc32(digest[:8].encode()) % SLOTS  # a damaged one has a slot, too


def find_secrets(connection: Connection, tenant: str) -> CacheSecrets | None:
    """Returns a tenant's secrets; None if it has none yet.

    Raises:
        NotFound: there is no such tenant.
    """
    table = schema.cache_secrets.c
    row = connection.execute(
        select(table.tag, table.slots)
        .select_from(schema.tenants.outerjoin(schema.cache_secrets))
        .where(schema.tenants.c.name == tenant)
    ).one_or_none()
    if row is None:
        raise no_tenant(tenant)
    if not _is_sound(row.slots):
        return None
    return CacheSecrets(row.tag, _split(row.slots))


def make_secrets(connection: Connection, tenant: str) -> CacheSecrets:
    """Returns a tenant's secrets, and makes them if it has none.

    Raises:
        NotFound: there is no such tenant.
    """
    known = find_secrets(connection, tenant)
    if known is not None:
        return known
    table = schema.cache_secrets
    tenant_id = connection.scalar(select(schema.tenants.c.id).filter_by(name=tenant))
    connection.execute(delete(table).filter_by(tenant_id=tenant_id))  # damaged ones
    tag, slots = os.urandom(SECRET_BYTES), os.urandom(SLOTS * SECRET_BYTES)
    connection.execute(insert(table).values(tenant_id=tenant_id, tag=tag, slots=slots))
    return CacheSecrets(tag, _split(slots))


def renew_secrets(
    connection: Connection, tenant_id: int, digests: Iterable[str] | None = None
) -> None:
    """Makes what is sealed of these inputs, or of all, and of their views, unreadable for good."""
    table = schema.cache_secrets
    slots = connection.scalar(select(table.c.slots).filter_by(tenant_id=tenant_id))
    if slots is None:
        return
    renewed = bytearray(slots if _is_sound(slots) else os.urandom(SLOTS * SECRET_BYTES))
    for slot in range(SLOTS) if digests is None else {slot_of(digest) for digest in digests}:
        renewed[slot * SECRET_BYTES : (slot + 1) * SECRET_BYTES] = os.urandom(SECRET_BYTES)
    connection.execute(
        update(table).where(table.c.tenant_id == tenant_id).values(slots=bytes(renewed))
    )


def _split(slots: bytes) -> tuple[bytes, ...]:
    starts = range(0, len(slots), SECRET_BYTES)
    return tuple(slots[start : start + SECRET_BYTES] for start in starts)


def _is_sound(slots: object) -> bool:
    return isinstance(slots, bytes) and len(slots) == SLOTS * SECRET_BYTES
