"""What callers say of their examples in pairs of key and value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from service.store import schema
from service.store.sql import execute_among, select_among


def find_metadata(
    connection: Connection, uid: str, digests: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Returns the pairs of a head's examples by digest; those without any are left out."""
    examples, table = schema.examples.c, schema.example_metadata.c
    query = (
        select(examples.digest, table.key, table.value)
        .join_from(schema.examples, schema.example_metadata)
        .where(examples.head_uid == uid)
        .order_by(table.key)
    )
    found: dict[str, dict[str, str]] = {}
    for digest, key, value in select_among(connection, query, examples.digest, digests):
        found.setdefault(digest, {})[key] = value
    return found


def replace_metadata(
    connection: Connection, uid: str, pairs: Mapping[str, Mapping[str, str]]
) -> None:
    """Gives a head's examples, by digest, these pairs in place of those that they had."""
    examples, table = schema.examples.c, schema.example_metadata
    query = select(examples.digest, examples.id).where(examples.head_uid == uid)
    ids = {row.digest: row.id for row in select_among(connection, query, examples.digest, [*pairs])}
    execute_among(connection, delete(table), table.c.example_id, list(ids.values()))
    rows = [
        {"example_id": number, "key": key, "value": value, "head_uid": uid}
        for digest, number in ids.items()
        for key, value in pairs[digest].items()
    ]
    if rows:
        connection.execute(insert(table), rows)


def has_pairs(uid: str, pairs: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """Returns conditions that only those of a head's examples fulfil that have all of the pairs."""
    table = schema.example_metadata.c
    return [
        schema.examples.c.id.in_(
            select(table.example_id).where(
                table.head_uid == uid, table.key == key, table.value == value
            )
        )
        for key, value in pairs.items()
    ]
