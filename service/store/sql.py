"""Statements that several tables share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVarTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Insert,
    Row,
    Select,
    Table,
    Update,
    case,
    func,
)
from sqlalchemy.dialects import postgresql, sqlite

Columns = TypeVarTuple("Columns")

_CHUNK = 500  # bound parameters of one IN clause


def select_among(
    connection: Connection,
    query: Select[*Columns],
    column: ColumnElement[Any],
    values: Sequence[object],
) -> Iterator[Row[*Columns]]:
    """Yields what a query finds where a column has one of these values, however many they are."""
    for condition in _among(column, values):
        yield from connection.execute(query.where(condition))


def execute_among(
    connection: Connection,
    statement: Update | Delete,
    column: ColumnElement[Any],
    values: Sequence[object],
) -> None:
    """Updates or deletes where a column has one of these values, however many they are."""
    for condition in _among(column, values):
        connection.execute(statement.where(condition))


def insert_if_absent(connection: Connection, table: Table) -> Insert:
    """Returns an insert that leaves out rows whose key is there already."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def json_part(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Returns what a column's JSON object has under a name, as text, without the rest of it.

    It is null where the object has none, and where the column is damaged: what reads it whole says
    so.
    """
    return case((func.json_valid(column), func.json_extract(column, f"$.{name}")))


def _among(column: ColumnElement[Any], values: Sequence[object]) -> Iterator[ColumnElement[bool]]:
    for start in range(0, len(values), _CHUNK):
        yield column.in_(values[start : start + _CHUNK])
