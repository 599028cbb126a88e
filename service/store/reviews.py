"""Captured inputs as reviewers see them: listed by what is sought, and leased while looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, case, exists, func, or_, select, update

from service.store import schema
from service.store.captures import RECORD, CaptureRecord, CaptureState, capture_record
from service.store.sql import execute_among, select_among

LEASE_SECONDS = 60.0
"""For so long nobody else is given what is leased."""

MAX_READ = 2000
"""Captured inputs that one page of a search for words looks at,"""
MAX_READ_BYTES = 32 * 1024 * 1024
"""and bytes of texts that it reads, so that each page takes a bounded time."""

_TABLE = schema.captures
_ROWS = 200  # texts that are held at a time


class Place(NamedTuple):
    """Where in a list a review stands: the next page begins after it. By `number` from the highest.

    `margin` orders first where the least sure are; 0 in other lists.
    """

    margin: float
    number: int


@dataclass(frozen=True, slots=True)
class Sought:
    """Which captured inputs are wanted: those that have all that is given.

    Attributes:
        state: None for any.
        predicted: what it was taken for.
        drawn: whether only what was drawn at random is wanted.
        external_ids: one of these; empty for any.
        ids: likewise.
        matches: is given an input, serialised; says whether its text is wanted. None for any.
    """

    state: CaptureState | None = CaptureState.WAITING
    predicted: str | None = None
    drawn: bool = False
    external_ids: Sequence[str] = ()
    ids: Sequence[str] = ()
    matches: Callable[[bytes], bool] | None = None

    def conditions(self, uid: str) -> list[ColumnElement[bool]]:
        """Returns the conditions, but for texts, on rows of a head that have their inputs."""
        table = _TABLE.c
        found: list[ColumnElement[bool]] = [table.head_uid == uid, table.expires_at.is_not(None)]
        if self.state is not None:
            found.append(table.state == self.state.value)
        if self.state is CaptureState.WAITING:
            found.append(~_newer_waits())
        if self.predicted is not None:
            found.append(table.predicted == self.predicted)
        if self.drawn:
            found.append(table.sampled_at_random)
        if self.external_ids:
            found.append(table.external_id.in_(self.external_ids))
        if self.ids:
            found.append(table.id.in_(self.ids))
        return found


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """A page of reviews.

    Attributes:
        after: where the next page begins; None on the last one.
        waiting: how many wait that fit, whatever their texts, and whoever has leased them.
    """

    reviews: list[CaptureRecord]
    after: Place | None
    waiting: int


def list_reviews(
    connection: Connection,
    uid: str,
    sought: Sought,
    *,
    after: Place | None,
    limit: int,
    least_sure: bool = False,
) -> ReviewPage:
    """Returns a page of what is sought, newest or least sure first."""
    return _page(connection, uid, sought, after, limit, least_sure, [])


def lease_reviews(
    connection: Connection,
    uid: str,
    sought: Sought,
    *,
    after: Place | None,
    limit: int,
    least_sure: bool = False,
    reviewer: str,
    now: float,
) -> ReviewPage:
    """Returns the same, without what others have leased, and leases what waits of it.

    Args:
        reviewer: who asks; at most 64 characters.
        now: in seconds since 1970.
    """
    table = _TABLE.c
    free = or_(table.leased_until.is_(None), table.leased_until <= now, table.leased_by == reviewer)
    page = _page(connection, uid, sought, after, limit, least_sure, [free])
    until = now + LEASE_SECONDS
    waiting = [row.number for row in page.reviews if row.state is CaptureState.WAITING]
    lease = update(_TABLE).values(leased_by=reviewer, leased_until=until)
    execute_among(connection, lease, table.number, waiting)
    leased = [
        replace(row, leased_by=reviewer, leased_until=until) if row.number in waiting else row
        for row in page.reviews
    ]
    return replace(page, reviews=leased)


def find_captures(connection: Connection, uid: str, ids: Sequence[str]) -> dict[str, CaptureRecord]:
    """Returns captures by id; those that the head does not have are left out."""
    query = select(*RECORD).where(_TABLE.c.head_uid == uid)
    found = map(capture_record, select_among(connection, query, _TABLE.c.id, ids))
    return {record.id: record for record in found}


def captured_inputs(
    connection: Connection, uid: str, numbers: Sequence[int], max_bytes: int
) -> dict[int, bytes]:
    """Returns serialised inputs of the first of these captures, `max_bytes` in all."""
    table = _TABLE.c
    found: dict[int, bytes] = {}
    for number in numbers:
        data = connection.scalar(
            select(table.input).where(table.head_uid == uid, table.number == number)
        )
        if data is None:
            continue
        max_bytes -= len(data)
        if max_bytes < 0:
            break
        found[number] = bytes(data)
    return found


def _newer_waits() -> ColumnElement[bool]:
    """Returns whether the same input was captured again and waits: then that is the one to show."""
    newer = _TABLE.alias("newer")
    return exists().where(
        newer.c.digest == _TABLE.c.digest,
        newer.c.head_uid == _TABLE.c.head_uid,
        newer.c.state == CaptureState.WAITING.value,
        newer.c.expires_at.is_not(None),
        newer.c.number > _TABLE.c.number,
    )


def _page(
    connection: Connection,
    uid: str,
    sought: Sought,
    after: Place | None,
    limit: int,
    least_sure: bool,
    more: Sequence[ColumnElement[bool]],
) -> ReviewPage:
    table = _TABLE.c
    conditions = sought.conditions(uid)
    waits = table.state == CaptureState.WAITING.value
    waiting = connection.scalar(select(func.count()).select_from(_TABLE).where(*conditions, waits))
    order = [table.margin, table.number.desc()] if least_sure else [table.number.desc()]
    query = select(*RECORD).where(*conditions, *more).order_by(*order)
    if after is not None:
        query = query.where(_beyond(after, least_sure))
    if sought.matches is None:
        rows = connection.execute(query.limit(limit + 1)).all()
        page, last = rows[:limit], len(rows) <= limit
    else:
        rows = connection.execute(query.limit(MAX_READ + 1)).all()
        page, read = _matching(connection, rows, sought.matches, limit)
        last = read == len(rows)
        rows = rows[:read]
    records = [capture_record(row) for row in page]
    end = rows[limit - 1 if sought.matches is None else -1] if rows and not last else None
    place = None if end is None else Place(end.margin if least_sure else 0.0, end.number)
    return ReviewPage(records, place, waiting or 0)


def _beyond(after: Place, least_sure: bool) -> ColumnElement[bool]:
    table = _TABLE.c
    older = table.number < after.number
    if not least_sure:
        return older
    return or_(table.margin > after.margin, and_(table.margin == after.margin, older))


def _matching(
    connection: Connection,
    rows: Sequence[Row[Any]],
    matches: Callable[[bytes], bool],
    limit: int,
) -> tuple[list[Row[Any]], int]:
    """Returns those rows whose texts are wanted, and how many rows were looked at for them."""
    found: list[Row[Any]] = []
    read = nbytes = 0
    for row, data in zip(rows, _texts(connection, [row.number for row in rows]), strict=False):
        if len(found) == limit or read == MAX_READ or nbytes > MAX_READ_BYTES:
            break
        read, nbytes = read + 1, nbytes + len(data)
        if data and matches(data):
            found.append(row)
    return found, read


def _texts(connection: Connection, numbers: Sequence[int]) -> Iterator[bytes]:
    """Yields texts, serialised, in the order of the numbers; b"" for what is none."""
    table = _TABLE.c
    query = select(table.number, case((table.kind == "text", table.input)).label("text"))
    for start in range(0, len(numbers), _ROWS):
        part = numbers[start : start + _ROWS]
        texts = {
            row.number: bytes(row.text or b"")
            for row in connection.execute(query.where(table.number.in_(part)))
        }
        for number in part:
            yield texts.get(number, b"")
