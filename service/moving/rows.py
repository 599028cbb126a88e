"""Rows of all tables, from one store to another, and whether they are the same."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from blake3 import blake3
from sqlalchemy import Column, Connection, Float, Integer, Table, func, insert, select, text, update

from service.errors import StoredDataDamaged, StoreFailed
from service.store import schema

Progress = Callable[[int, int], None]
"""Is told how many rows of how many are done."""

ROWS = 500
"""Rows that are held at a time; of tables with large values but one."""
_LARGE = {"versions", "tails", "members"}
_COUNTED = ("examples", "stored_bytes")


@dataclass(frozen=True, slots=True)
class Copied:
    """A table that was copied: how many rows, and their digest in hexadecimal."""

    rows: int
    digest: str


def copy_rows(
    source: Connection, target: Connection, begin: Callable[[str], None], advance: Progress
) -> dict[str, Copied]:
    """Copies all rows into a store without any, then reads them back; returns what was copied.

    Numbers that were given go on where they were, so that none is given twice.

    Args:
        begin: is told the name of each table.

    Raises:
        StoredDataDamaged: the source holds what the target does not take.
        StoreFailed: the target has not what the source has.
        sqlalchemy.exc.SQLAlchemyError: one of them cannot be worked with.
    """
    copied = {}
    for table in schema.metadata.sorted_tables:
        begin(table.name)
        hasher, count = blake3(), 0
        total = source.scalar(select(func.count()).select_from(table)) or 0
        for rows in _batches(source, table):
            _hash(hasher, table, rows)
            _insert(target, table, rows)
            count += len(rows)
            advance(count, total)
        copied[table.name] = Copied(count, hasher.hexdigest())
    _restore_counts(source, target)
    for table in schema.metadata.sorted_tables:
        _go_on_from(target, table, _last_number(source, table))
        begin(f"{table.name}, read back")
        found = _digest_of(target, table, advance)
        if found != copied[table.name]:
            raise StoreFailed(
                f"to: table {table.name} has {found.rows} rows of digest {found.digest[:12]}, the "
                f"source {copied[table.name].rows} of {copied[table.name].digest[:12]}"
            )
    return copied


def _digest_of(connection: Connection, table: Table, advance: Progress) -> Copied:
    hasher, count = blake3(), 0
    total = connection.scalar(select(func.count()).select_from(table)) or 0
    for rows in _batches(connection, table):
        _hash(hasher, table, rows)
        count += len(rows)
        advance(count, total)
    return Copied(count, hasher.hexdigest())


def _batches(connection: Connection, table: Table) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yields all rows in the order of their keys, which is the same on both engines."""
    held = 1 if table.name in _LARGE else ROWS
    query = select(table).order_by(*table.primary_key.columns)
    with connection.execute(query.execution_options(yield_per=held)) as found:
        for rows in found.mappings().partitions(held):
            yield [{c.name: _value(c, row[c.name]) for c in table.columns} for row in rows]


def _value(column: Column[Any], value: Any) -> Any:
    """Returns a value as its column has it: SQLite keeps whole numbers in columns of others."""
    return float(value) if isinstance(column.type, Float) and value is not None else value


def _insert(target: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if table is schema.tenants:  # triggers count what follows
        rows = [{**row, **dict.fromkeys(_COUNTED, 0)} for row in rows]
    try:
        target.execute(insert(table), [dict(row) for row in rows])
    except (sqlalchemy.exc.DataError, sqlalchemy.exc.IntegrityError) as error:
        words = " ".join(str(error.orig).split())
        raise StoredDataDamaged(
            f"from: rows of table {table.name} are not taken: {words}; `trunkline check` may say "
            "more"
        ) from error


def _restore_counts(source: Connection, target: Connection) -> None:
    table = schema.tenants
    for row in source.execute(select(table.c.id, *(table.c[name] for name in _COUNTED))).mappings():
        counts = {name: row[name] for name in _COUNTED}
        target.execute(update(table).where(table.c.id == row["id"]).values(**counts))


def _hash(hasher: blake3, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        for column in table.columns:
            data = _encoded(row[column.name])
            hasher.update(struct.pack("<q", len(data)))
            hasher.update(data)


def _encoded(value: Any) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, str):
        return b"t" + value.encode()
    if isinstance(value, int):
        return b"i" + str(int(value)).encode()
    if isinstance(value, float):
        return b"f" + struct.pack("<d", value)
    return b"b" + bytes(value)


def _last_number(connection: Connection, table: Table) -> int | None:
    """Returns the last number that a table's rows were given; None where they have no numbers."""
    column = table.autoincrement_column
    if column is None or not isinstance(column.type, Integer | sqlalchemy.BigInteger):
        return None
    highest = connection.scalar(select(func.max(column))) or 0
    if connection.dialect.name == "postgresql":
        row = connection.exec_driver_sql(
            "SELECT last_value FROM pg_sequences WHERE (quote_ident(schemaname) || '.' || "
            "quote_ident(sequencename)) = pg_get_serial_sequence(%s, %s)",
            (table.name, column.name),
        ).scalar()
    elif table.dialect_options["sqlite"]["autoincrement"]:
        named = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        row = connection.scalar(named, {"name": table.name})
    else:
        row = None
    return max(highest, int(row or 0))


def _go_on_from(connection: Connection, table: Table, last: int | None) -> None:
    if not last:
        return
    column = table.autoincrement_column
    assert column is not None
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "SELECT setval(pg_get_serial_sequence(%s, %s), %s)", (table.name, column.name, last)
        )
    elif table.dialect_options["sqlite"]["autoincrement"]:
        # A table that never had a row has none here either.
        values = {"name": table.name, "last": last}
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        connection.execute(
            text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), values
        )
