"""Values of the tables: of the kind that their column holds, and specs that can be read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from sqlalchemy import Column, ColumnElement, Float, LargeBinary, String, Table, cast, func, select

from adapters import AdapterError, HeadSpec
from service.check.findings import RESTORE, Finding, Store
from service.check.read_only import IS_UTF8
from service.store import schema
from service.store.jobs import UNFINISHED

_ENDED = "start the server, which ends all but one of them"


def values(store: Store) -> Iterator[Finding]:
    """Finds values of another kind than their column's: SQLite takes any value anywhere."""
    tables = schema.metadata.sorted_tables
    for done, table in enumerate(tables):
        store.advance(done, len(tables))
        odd = [func.count().filter(_is_odd(column)) for column in table.columns]
        counts = store.connection.execute(select(*odd).select_from(table)).one()
        for column, count in zip(table.columns, counts, strict=True):
            if count:
                kinds = " or ".join(_kinds(column))
                yield Finding(f"{_name(table, column)} is not {kinds} in {count} rows", RESTORE)


def specs(store: Store) -> Iterator[Finding]:
    """Finds settings of heads and of waiting trainings that cannot be read; two that wait."""
    heads, jobs, named = schema.heads.c, schema.jobs.c, store.heads_by_uid()
    of_heads = store.connection.execute(select(heads.uid, heads.spec)).all()
    waiting = jobs.state.in_(UNFINISHED)
    of_jobs = store.connection.execute(select(jobs.head_uid, jobs.spec).where(waiting)).all()
    for whose, rows in (("its", of_heads), ("a waiting training's", of_jobs)):
        for uid, stored in rows:
            try:
                HeadSpec.from_json(dict(json.loads(stored)))
            except (ValueError, TypeError, AttributeError, AdapterError) as error:
                resource = named[uid].resource if uid in named else ""
                yield Finding(f"{whose} spec cannot be read: {error}", RESTORE, resource)
    for uid, count in Counter(uid for uid, _ in of_jobs).items():
        if count > 1:
            resource = named[uid].resource if uid in named else ""
            yield Finding(f"{count} trainings wait, where one may", _ENDED, resource)


def _is_odd(column: Column[object]) -> ColumnElement[bool]:
    odd = func.typeof(column).not_in(_kinds(column))
    if isinstance(column.type, String):
        odd |= getattr(func, IS_UTF8)(cast(column, LargeBinary)) == 0
    return column.is_not(None) & odd


def _kinds(column: Column[object]) -> tuple[str, ...]:
    """Returns the storage classes that a column takes (https://www.sqlite.org/datatype3.html)."""
    if isinstance(column.type, LargeBinary):
        return ("blob",)
    if isinstance(column.type, String):
        return ("text",)
    return ("real", "integer") if isinstance(column.type, Float) else ("integer",)


def _name(table: Table, column: Column[object]) -> str:
    return f"column {column.name} of table {table.name}"
