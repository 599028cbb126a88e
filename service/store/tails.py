"""Tails: fine-tuned blocks that versions of a head run on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, insert, select

from models.tails import tail_fingerprint
from service.errors import NotFound, StoredDataDamaged
from service.store import schema
from service.store.cache_secrets import renew_secrets
from service.store.changes import changed_in
from service.store.embeddings import delete_embeddings
from service.store.head_records import HeadRecord


@dataclass(frozen=True, slots=True)
class TailRecord:
    """A tail without its weights.

    Attributes:
        fingerprint: fingerprint of the embeddings that it gives.
        strategy: how it was tuned.
        blocks: names of the blocks that were changed.
        size: size of its file in bytes.
    """

    fingerprint: str
    strategy: str
    blocks: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class NewTail:
    """What a tuning made.

    Attributes:
        data: the safetensors file, as `models.tails.write_tail` makes it.
        vectors: embeddings (dim,) that it gives of the head's examples, by their digests.
    """

    fingerprint: str
    strategy: str
    blocks: tuple[str, ...]
    data: bytes
    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def store_tail(connection: Connection, head: HeadRecord, tail: NewTail) -> None:
    """Stores a tail, unless the head has it already; its vectors are for the caller to store."""
    known = select(schema.tails.c.size).filter_by(head_uid=head.uid, fingerprint=tail.fingerprint)
    if connection.execute(known).one_or_none() is None:
        connection.execute(
            insert(schema.tails).values(
                head_uid=head.uid,
                fingerprint=tail.fingerprint,
                strategy=tail.strategy,
                blocks=json.dumps(tail.blocks),
                size=len(tail.data),
                safetensors=tail.data,
            )
        )


def get_tail(connection: Connection, uid: str, fingerprint: str) -> bytes:
    """Returns a tail's safetensors file.

    Raises:
        NotFound: it is gone, with the last version that ran on it.
        StoredDataDamaged: it is not what was stored.
    """
    data: bytes | None = connection.scalar(
        select(schema.tails.c.safetensors).filter_by(head_uid=uid, fingerprint=fingerprint)
    )
    if data is None:
        raise NotFound(f"tail: the head has no {fingerprint}", field="tail", value=fingerprint)
    if not isinstance(data, bytes) or tail_fingerprint(data) != fingerprint:
        raise _damaged(connection, uid, fingerprint)
    return data


def delete_unused_tails(connection: Connection, head: HeadRecord) -> tuple[str, ...]:
    """Deletes tails that no version of the head runs on any more, with all embeddings they gave.

    Returns the fingerprints of those that the tenant has no longer.
    """
    table, versions = schema.tails.c, schema.versions.c
    used = select(versions.tail).where(versions.head_uid == head.uid, versions.tail.is_not(None))
    unused = table.head_uid == head.uid, table.fingerprint.not_in(used)
    gone = connection.scalars(select(table.fingerprint).where(*unused)).all()
    connection.execute(delete(schema.tails).where(*unused))
    # The same examples and spec make the same tail, also for another head of the tenant.
    shared = connection.scalars(
        select(table.fingerprint)
        .select_from(schema.tails.join(schema.heads))
        .where(schema.heads.c.tenant_id == head.tenant_id, table.fingerprint.in_(gone))
    ).all()
    orphans = tuple(fingerprint for fingerprint in gone if fingerprint not in shared)
    for fingerprint in orphans:
        delete_embeddings(connection, head.tenant_id, fingerprint)
    if orphans:
        renew_secrets(connection, head.tenant_id)
        changed_in(connection).tails[head.tenant] = set(orphans)
    return orphans


def _damaged(connection: Connection, uid: str, fingerprint: str) -> StoredDataDamaged:
    table, heads = schema.versions.c, schema.heads.c
    tenant, head = connection.execute(
        select(schema.tenants.c.name, heads.name)
        .join_from(schema.heads, schema.tenants)
        .where(heads.uid == uid)
    ).one()
    on_it = connection.scalars(
        select(table.version).where(table.head_uid == uid, table.tail == fingerprint)
    ).all()
    named = ", ".join(map(str, sorted(on_it)))
    return StoredDataDamaged(
        f"head: the stored tail {fingerprint[:12]} of tenants/{tenant}/heads/{head}, which version "
        f"{named} runs on, is damaged; activate another version, or tune the head again",
        field="head",
        value=f"tenants/{tenant}/heads/{head}",
    )
