"""Raw inputs of examples and captures, where they are kept, and what kinds they are of."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, or_, select

from service.store import schema
from service.store.sql import select_among


def find_kinds(connection: Connection, tenant: str, digests: Sequence[str]) -> dict[str, str]:
    """Returns the kinds of inputs that a tenant has stored, by digest."""
    kinds: dict[str, str] = {}
    for table in (schema.captures, schema.examples):
        query = (
            select(table.c.digest, table.c.kind)
            .select_from(table.join(schema.heads).join(schema.tenants))
            .where(schema.tenants.c.name == tenant)
            .distinct()
        )
        kinds |= {d: kind for d, kind in select_among(connection, query, table.c.digest, digests)}
    return kinds


def kept_digests(connection: Connection, uid: str, digests: Sequence[str]) -> set[str]:
    """Returns those of the digests whose raw input the head has kept; embeddings have none."""
    table = schema.examples.c
    query = select(table.digest).where(
        table.head_uid == uid, or_(table.input.is_not(None), table.kind == "embedding")
    )
    return {row.digest for row in select_among(connection, query, table.digest, digests)}


def find_inputs(connection: Connection, uid: str, digests: Sequence[str]) -> dict[str, bytes]:
    """Returns serialised inputs of a head's examples by digest, where they are kept."""
    table = schema.examples.c
    query = select(table.digest, table.input).where(table.head_uid == uid, table.input.is_not(None))
    rows = select_among(connection, query, table.digest, digests)
    return {digest: data for digest, data in rows}


def find_first_inputs(
    connection: Connection, uid: str, digests: Sequence[str], max_bytes: int
) -> dict[str, bytes]:
    """Returns serialised inputs of the first of a head's examples, `max_bytes` in all."""
    found: dict[str, bytes] = {}
    for digest in digests:
        one = find_inputs(connection, uid, [digest])
        max_bytes -= sum(map(len, one.values()))
        if max_bytes < 0:
            break
        found |= one
    return found


def count_kinds(connection: Connection, uid: str) -> dict[str, int]:
    """Returns how many examples of each kind a head has."""
    table = schema.examples.c
    query = select(table.kind, func.count()).where(table.head_uid == uid).group_by(table.kind)
    return {kind: count for kind, count in connection.execute(query)}


def count_not_kept(connection: Connection, uid: str) -> int:
    """Returns how many of a head's examples to train on have no kept input."""
    table = schema.examples.c
    query = (
        select(func.count())
        .select_from(schema.examples)
        .where(
            table.head_uid == uid,
            table.label.is_not(None),
            table.held_out.is_(False),
            table.input.is_(None),
        )
    )
    return connection.scalar(query) or 0


def find_kept(connection: Connection, tenant: str, digests: Sequence[str]) -> dict[str, bytes]:
    """Returns serialised inputs by digest that any head of a tenant keeps."""
    found: dict[str, bytes] = {}
    for table in (schema.examples, schema.captures):
        left = [digest for digest in digests if digest not in found]
        query = (
            select(table.c.digest, table.c.input)
            .select_from(table.join(schema.heads).join(schema.tenants))
            .where(schema.tenants.c.name == tenant, table.c.input.is_not(None))
        )
        found |= {d: data for d, data in select_among(connection, query, table.c.digest, left)}
    return found
