"""Statements that several tables share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVarTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Delete,
    Insert,
    Row,
    Select,
    Table,
    Text,
    Update,
    case,
    func,
    literal,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

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


class json_part(FunctionElement[str]):  # noqa: N801
    """What a column's JSON object has under a name, as text, without the rest of it.

    It is null where the object has none, and where the column is damaged: what reads it whole says
    so.
    """

    type = Text()
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        super().__init__(column, literal(name, Text()))


@compiles(json_part)
def _json_part(element: json_part, compiler: SQLCompiler, **how: Any) -> str:
    column, name = element.clauses
    taken = case((func.json_valid(column), func.json_extract(column, literal("$.") + name)))
    return compiler.process(taken, **how)


@compiles(json_part, "postgresql")
def _json_part_of_postgres(element: json_part, compiler: SQLCompiler, **how: Any) -> str:
    return compiler.process(func.trunkline_json_part(*element.clauses), **how)


class whole_part(FunctionElement[int]):  # noqa: N801
    """The whole part of a number that is at least 0."""

    type = BigInteger()
    inherit_cache = True


@compiles(whole_part)
def _whole_part(element: whole_part, compiler: SQLCompiler, **how: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **how)} AS INTEGER)"


@compiles(whole_part, "postgresql")
def _whole_part_of_postgres(element: whole_part, compiler: SQLCompiler, **how: Any) -> str:
    # Its casts round.
    return f"CAST(FLOOR({compiler.process(element.clauses, **how)}) AS BIGINT)"


def _among(column: ColumnElement[Any], values: Sequence[object]) -> Iterator[ColumnElement[bool]]:
    for start in range(0, len(values), _CHUNK):
        yield column.in_(values[start : start + _CHUNK])
