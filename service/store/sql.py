"""Statements that several tables share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

_CHUNK = 500  # bound parameters of one IN clause


def chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    """Yields parts that fit the bound parameters of one IN clause."""
    return (items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK))


def insert_if_absent(connection: Connection, table: Table) -> Insert:
    """Returns an insert that leaves out rows whose key is there already."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()
