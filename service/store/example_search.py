"""Stored examples by what they are called, what is said of them, and their kept texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, case, select

from service.store import schema
from service.store.captures import find_captured
from service.store.examples import RECORD, ExampleRecord, records_of
from service.store.metadata import has_pairs

MAX_READ = 10_000
"""Examples that one page of a search for words looks at,"""
MAX_READ_BYTES = 32 * 1024 * 1024
"""and bytes of kept texts that it reads, so that each page takes a bounded time."""

_ROWS = 200  # that are held at a time


@dataclass(frozen=True, slots=True)
class Wanted:
    """What examples must have to be found: all that is given.

    Attributes:
        external_ids: one of these; empty for any.
        metadata: each of these pairs.
        label: None for any.
        matches: is given a kept input, serialised; says whether its text is wanted, or None where
            it has none. None for any.
    """

    external_ids: Sequence[str] = ()
    metadata: Mapping[str, str] | None = None
    label: str | None = None
    matches: Callable[[bytes], bool | None] | None = None

    def conditions(self, uid: str) -> list[ColumnElement[bool]]:
        """Returns the conditions but for texts, on rows of a head's examples."""
        table = schema.examples.c
        found = [table.head_uid == uid, *has_pairs(uid, self.metadata or {})]
        if self.external_ids:
            found.append(table.external_id.in_(self.external_ids))
        if self.label is not None:
            found.append(table.label == self.label)
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """A page of examples.

    Attributes:
        after: the id that the next page begins after; None on the last one.
        not_searched: examples on the way that have all the rest, and no kept text.
    """

    examples: list[ExampleRecord]
    after: int | None
    not_searched: int = 0


def search_examples(
    connection: Connection, uid: str, wanted: Wanted, *, after: int, limit: int
) -> Found:
    """Returns examples with an id above `after`, in the order of their first storing."""
    if wanted.matches is not None:
        return _search_texts(connection, uid, wanted, wanted.matches, after, limit)
    table = schema.examples.c
    query = select(*RECORD).where(*wanted.conditions(uid), table.id > after).order_by(table.id)
    rows = connection.execute(query.limit(limit + 1)).all()
    page = records_of(connection, uid, rows[:limit])
    return Found(page, page[-1].id if len(rows) > limit else None)


def matching_digests(connection: Connection, uid: str, wanted: Wanted) -> list[str]:
    """Returns the digests of all that is wanted and may be forgotten, whatever the texts.

    Of the examples, and of captured inputs by their names and metadata.
    """
    table = schema.examples.c
    query = select(table.digest).where(*wanted.conditions(uid)).order_by(table.id)
    captured = find_captured(connection, uid, wanted.external_ids, wanted.metadata or {})
    return list(dict.fromkeys([*connection.scalars(query), *captured]))


def _search_texts(
    connection: Connection,
    uid: str,
    wanted: Wanted,
    matches: Callable[[bytes], bool | None],
    after: int,
    limit: int,
) -> Found:
    table = schema.examples.c
    query = select(table.id).where(*wanted.conditions(uid), table.id > after).order_by(table.id)
    ids = connection.scalars(query.limit(MAX_READ + 1)).all()
    found: list[int] = []
    read = nbytes = not_searched = 0
    for number, data in _texts(connection, ids):
        if len(found) == limit or read == MAX_READ or nbytes > MAX_READ_BYTES:
            break
        read, nbytes = read + 1, nbytes + len(data)
        if (good := matches(data)) is None:
            not_searched += 1
        elif good:
            found.append(number)
    records = select(*RECORD).where(table.id.in_(found)).order_by(table.id)
    rows = connection.execute(records).all() if found else []
    last = ids[read - 1] if read < len(ids) else None
    return Found(records_of(connection, uid, rows), last, not_searched)


def _texts(connection: Connection, ids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Yields ids and kept texts, serialised; b"" for inputs that are none, which are not read."""
    table = schema.examples.c
    query = select(table.id, case((table.kind == "text", table.input)).label("text"))
    for start in range(0, len(ids), _ROWS):
        part = query.where(table.id.in_(ids[start : start + _ROWS])).order_by(table.id)
        for row in connection.execute(part).all():
            yield row.id, bytes(row.text or b"")
