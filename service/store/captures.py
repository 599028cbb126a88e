"""Captured inputs: what of a head's traffic is kept for people to look at.

One that expires leaves nothing of the input. If it was drawn at random its row stays a while longer
without it, as one of which nobody knows whether the answer was right: an accuracy that left those
out would be that of inputs which are easy to judge.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, func, insert, select
from sqlalchemy import update as sql_update

from service.store import kept_inputs, schema
from service.store.embeddings import delete_unneeded, store_embeddings
from service.store.head_records import HeadRecord
from service.store.heads import require_head
from service.store.sql import execute_among, select_among
from service.store.tenants import within_quotas

HOUR = 3600.0

MAX_RECORDS = 100_000
"""Rows of a head that were drawn at random and outlived their inputs; the oldest go."""

_TABLE = schema.captures
_NO_INPUT = MappingProxyType(
    {
        "digest": "",
        "input": None,
        "size": 0,
        "external_id": None,
        "metadata": None,
        "answer": "[]",
        "expires_at": None,
        "leased_by": None,
        "leased_until": None,
    }
)
"""What a row has that has outlived its input."""


class CaptureState(StrEnum):
    """What became of a captured input: it waits, or this was said of it, or nobody said anything.

    One that was skipped, or expired, is of a class that nobody knows.
    """

    WAITING = "waiting"
    CONFIRMED = "confirmed"
    CORRECTED = "corrected"
    SKIPPED = "skipped"
    NONE_OF_THESE = "none_of_these"
    JUNK = "junk"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class NewCapture:
    """An input to be kept, with the answer it got.

    Attributes:
        id: drawn at random, in 32 hexadecimal digits.
        live: whether the live copy answered that moved on from `version`.
        kind: of the input itself, whatever it was named by.
        reason: of the rules, the one that took it; "always" where the request asked for it.
        chance: how likely it was to be drawn whatever the answer; None if it was not drawn so.
        answer: labels and probabilities, the most probable first.
        margin: by how much the first probability is above the second.
        novelty: distance from the examples in units of the threshold; None where none is told.
        vector: float32, shape (dim,), the embedding that was scored.
        fingerprint: of what made it.
        truncated: whether the input is a text that is longer than the backbone's window.
        input: serialised; None for one that was named by its digest, or is an embedding.
        created_at: when it was answered, in seconds since 1970.
    """

    id: str
    version: int
    live: bool
    digest: str
    kind: str
    reason: str
    chance: float | None
    answer: Sequence[tuple[str, float]]
    margin: float
    novelty: float | None
    vector: NDArray[np.float32]
    fingerprint: str
    truncated: bool
    input: bytes | None
    created_at: float
    external_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CaptureBounds:
    """How much of its traffic a head keeps.

    Attributes:
        per_hour: in an hour of the clock, whatever took them.
        by_rules: of these, what was not drawn at random.
        days: after which they go.
    """

    per_hour: int
    by_rules: int
    max_count: int
    max_bytes: int
    days: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of inputs to be kept.

    Attributes:
        stored: which of them are in the store now, by their place.
        waiting: how many were not stored as the same input waits already.
        over_quota: how many came after the hour's.
        removed: earlier ones that had to go to make room.
    """

    stored: Sequence[int]
    waiting: int
    over_quota: int
    removed: int


@dataclass(frozen=True, slots=True)
class CaptureRecord:
    """A captured input without its content and embedding; `number` orders them by age."""

    number: int
    id: str
    version: int
    live: bool
    digest: str
    kind: str
    reason: str
    sampled_at_random: bool
    chance: float | None
    predicted: str
    confidence: float
    margin: float
    answer: tuple[tuple[str, float], ...]
    novelty: float | None
    external_id: str | None
    metadata: Mapping[str, str]
    fingerprint: str
    has_input: bool
    created_at: float
    expires_at: float | None
    state: CaptureState
    judged_label: str | None
    judged_at: float | None
    judged_by: str | None
    leased_by: str | None
    leased_until: float | None


RECORD: tuple[ColumnElement[Any], ...] = tuple(
    _TABLE.c.input.is_not(None).label("has_input") if name == "has_input" else _TABLE.c[name]
    for name in CaptureRecord.__dataclass_fields__
)
"""What `capture_record` reads."""


def capture_record(row: Row[*tuple[object, ...]]) -> CaptureRecord:
    """Reads a row of the columns `RECORD`."""
    values = dict(row._mapping)
    answer = tuple((label, share) for label, share in json.loads(values["answer"]))
    said = json.loads(values["metadata"] or "{}")
    state = CaptureState(values["state"])
    return CaptureRecord(**{**values, "answer": answer, "metadata": said, "state": state})


def store_captures(
    connection: Connection, uid: str, new: Sequence[NewCapture], bounds: CaptureBounds
) -> Kept:
    """Keeps inputs within a head's bounds: what there is no room for takes the place of the oldest.

    The quota of an hour is that of all servers of the store together. An input that waits already
    is kept once, unless it is drawn at random again.

    Raises:
        NotFound: the head was deleted meanwhile.
        StorageQuotaExceeded: the tenant may store no more; nothing is kept.
    """
    head = require_head(connection, uid)
    if head.capture is None:  # it was turned off since they were answered
        return Kept((), 0, 0, 0)
    new = _with_inputs(connection, head, new)
    known = _waiting(connection, uid, [item.digest for item in new])
    wanted, waiting = [], 0
    for place, item in enumerate(new):
        if item.chance is None and item.digest in known:
            waiting += 1
            continue
        known.add(item.digest)
        wanted.append((place, item))
    within = _within_quota(connection, uid, wanted, bounds)
    with within_quotas(connection, head.tenant_id):
        rows = [item for _, item in within]
        removed = _make_room(connection, head, rows, bounds)
        _insert(connection, head, rows, bounds)
    places = tuple(place for place, _ in within)
    return Kept(places, waiting, len(wanted) - len(within), removed)


def expire_captures(connection: Connection, now: float, limit: int) -> int:
    """Removes what has expired, the oldest first, `limit` at most; returns how many."""
    table = _TABLE.c
    query = (
        select(table.number, table.digest, table.sampled_at_random, table.head_uid)
        .where(table.expires_at <= now)
        .order_by(table.expires_at)
        .limit(limit)
    )
    by_head: dict[str, list[Row[*tuple[object, ...]]]] = {}
    for row in connection.execute(query):
        by_head.setdefault(row.head_uid, []).append(row)
    for uid, rows in by_head.items():
        _retire(connection, require_head(connection, uid), rows)
    return sum(map(len, by_head.values()))


def delete_old_records(connection: Connection, before: float, limit: int) -> int:
    """Deletes what has outlived its input for long, `limit` at most; returns how many."""
    table = _TABLE.c
    ended = (table.expires_at.is_(None), table.created_at < before)
    oldest = select(table.number).where(*ended).order_by(table.number).limit(limit)
    statement = delete(_TABLE).where(table.number.in_(oldest.scalar_subquery()))
    return connection.execute(statement).rowcount


def captured_digests(connection: Connection, uid: str) -> list[str]:
    """Returns the digests of all captured inputs of a head."""
    query = select(_TABLE.c.digest).where(_TABLE.c.head_uid == uid, _TABLE.c.digest != "")
    return list(connection.scalars(query))


def find_captured(
    connection: Connection, uid: str, external_ids: Collection[str], metadata: Mapping[str, str]
) -> list[str]:
    """Returns the digests of captured inputs that have one of these names and all of these pairs.

    Args:
        external_ids: empty for any name.
    """
    table = _TABLE.c
    query = select(table.digest, table.metadata).where(table.head_uid == uid, table.digest != "")
    if external_ids:
        query = query.where(table.external_id.in_(external_ids))
    if metadata:
        query = query.where(table.metadata.is_not(None))
    return [
        str(row.digest)
        for row in connection.execute(query.order_by(table.number))
        if metadata.items() <= json.loads(row.metadata or "{}").items()
    ]


def delete_captures(connection: Connection, uid: str, digests: Collection[str]) -> None:
    """Deletes a head's captures of these inputs, judged or not; embeddings stay."""
    statement = delete(_TABLE).where(_TABLE.c.head_uid == uid)
    execute_among(connection, statement, _TABLE.c.digest, sorted(digests))


def withdraw_captures(connection: Connection, ids: Sequence[str]) -> None:
    """Deletes captures, and embeddings that nothing else needs: their inputs were deleted."""
    table = _TABLE.c
    query = select(table.head_uid, table.digest)
    by_head: dict[str, list[str]] = {}
    for uid, digest in select_among(connection, query, table.id, ids):
        by_head.setdefault(uid, []).append(digest)
    execute_among(connection, delete(_TABLE), table.id, ids)
    for uid, digests in by_head.items():
        delete_unneeded(connection, require_head(connection, uid), digests)


def change_captured_labels(
    connection: Connection, uid: str, labels: Collection[str], into: str
) -> None:
    """Puts one label in the place of others in what was answered and said of captured inputs."""
    table = _TABLE.c
    for column in (table.predicted, table.judged_label):
        renamed = sql_update(_TABLE).where(table.head_uid == uid, column.in_(labels))
        connection.execute(renamed.values({column: into}))
    named = select(table.number, table.answer).where(table.head_uid == uid, table.answer != "[]")
    for number, answer in connection.execute(named).all():
        before = json.loads(answer)
        after: dict[str, float] = {}
        for label, share in before:
            name = into if label in labels else label
            after[name] = after.get(name, 0.0) + share
        if list(after) != [label for label, _ in before]:
            one = sql_update(_TABLE).where(table.number == number)
            connection.execute(one.values(answer=json.dumps(list(after.items()))))


def _with_inputs(
    connection: Connection, head: HeadRecord, new: Sequence[NewCapture]
) -> list[NewCapture]:
    """Adds the inputs of those that a digest named, where a head of the tenant keeps them."""
    named = [item.digest for item in new if item.input is None and item.kind != "embedding"]
    kept = kept_inputs.find_kept(connection, head.tenant, named) if named else {}
    return [
        item if item.input is not None else _with_input(item, kept.get(item.digest)) for item in new
    ]


def _with_input(item: NewCapture, data: bytes | None) -> NewCapture:
    return item if data is None else replace(item, input=data)


def _waiting(connection: Connection, uid: str, digests: Sequence[str]) -> set[str]:
    table = _TABLE.c
    query = select(table.digest).where(
        table.head_uid == uid, table.state == CaptureState.WAITING.value
    )
    return {row.digest for row in select_among(connection, query, table.digest, digests)}


def _within_quota(
    connection: Connection,
    uid: str,
    wanted: Sequence[tuple[int, NewCapture]],
    bounds: CaptureBounds,
) -> list[tuple[int, NewCapture]]:
    """Returns those that the quotas of their hours have room for."""
    counts: dict[float, tuple[int, int]] = {}
    taken = []
    for place, item in wanted:
        hour = item.created_at // HOUR * HOUR
        if hour not in counts:
            counts[hour] = _count_hour(connection, uid, hour)
        drawn, by_rules = counts[hour]
        if drawn + by_rules >= bounds.per_hour:
            continue
        if item.chance is None and by_rules >= bounds.by_rules:
            continue
        counts[hour] = (drawn + (item.chance is not None), by_rules + (item.chance is None))
        taken.append((place, item))
    return taken


def _count_hour(connection: Connection, uid: str, hour: float) -> tuple[int, int]:
    """Counts a head's captures of an hour: those that were drawn at random, and the others."""
    table = _TABLE.c
    query = select(func.count(case((table.sampled_at_random, 1))), func.count()).where(
        table.head_uid == uid, table.created_at >= hour, table.created_at < hour + HOUR
    )
    drawn, every = connection.execute(query).one()
    return drawn, every - drawn


def _make_room(
    connection: Connection, head: HeadRecord, new: Sequence[NewCapture], bounds: CaptureBounds
) -> int:
    """Removes the oldest captures that there is no room for beside new ones; returns how many."""
    table = _TABLE.c
    here = and_(table.head_uid == head.uid, table.expires_at.is_not(None))
    query = select(func.count(), func.coalesce(func.sum(table.size), 0)).where(here)
    count, size = connection.execute(query).one()
    count += len(new) - bounds.max_count
    size += sum(len(item.input or b"") for item in new) - bounds.max_bytes
    if count <= 0 and size <= 0:
        return 0
    oldest = select(table.number, table.digest, table.sampled_at_random, table.size)
    gone = []
    for row in connection.execute(oldest.where(here).order_by(table.number)):
        if count <= 0 and size <= 0:
            break
        count, size = count - 1, size - row.size
        gone.append(row)
    _retire(connection, head, gone)
    return len(gone)


def _insert(
    connection: Connection, head: HeadRecord, new: Sequence[NewCapture], bounds: CaptureBounds
) -> None:
    if not new:
        return
    connection.execute(insert(_TABLE), [_row(head.uid, item, bounds.days) for item in new])
    for fingerprint in {item.fingerprint for item in new}:
        mine = [item for item in new if item.fingerprint == fingerprint]
        vectors = {item.digest: item.vector for item in mine}
        truncated = {item.digest for item in mine if item.truncated}
        store_embeddings(connection, head, vectors, fingerprint, truncated)


def _row(uid: str, item: NewCapture, days: int) -> dict[str, object]:
    label, confidence = item.answer[0]
    return {
        "id": item.id,
        "head_uid": uid,
        "version": item.version,
        "live": item.live,
        "digest": item.digest,
        "kind": item.kind,
        "reason": item.reason,
        "sampled_at_random": item.chance is not None,
        "chance": item.chance,
        "predicted": label,
        "confidence": confidence,
        "margin": item.margin,
        "answer": json.dumps([list(pair) for pair in item.answer]),
        "novelty": item.novelty,
        "external_id": item.external_id or None,
        "metadata": json.dumps(dict(item.metadata)) if item.metadata else None,
        "fingerprint": item.fingerprint,
        "size": len(item.input or b""),
        "created_at": item.created_at,
        "expires_at": item.created_at + days * 24 * HOUR,
        "state": CaptureState.WAITING.value,
        "input": item.input,
    }


def _retire(
    connection: Connection, head: HeadRecord, rows: Iterable[Row[*tuple[object, ...]]]
) -> None:
    """Removes captures, and embeddings that nothing else needs; of drawn ones a row stays."""
    rows = list(rows)
    table = _TABLE.c
    drawn = [row.number for row in rows if row.sampled_at_random]
    state = case(
        (table.state == CaptureState.WAITING.value, CaptureState.EXPIRED.value), else_=table.state
    )
    execute_among(
        connection, sql_update(_TABLE).values(**_NO_INPUT, state=state), table.number, drawn
    )
    others = [row.number for row in rows if not row.sampled_at_random]
    execute_among(connection, delete(_TABLE), table.number, others)
    delete_unneeded(connection, head, sorted({str(row.digest) for row in rows}))
    outlived = and_(table.head_uid == head.uid, table.expires_at.is_(None))
    beyond = select(table.number).where(outlived).order_by(table.number.desc()).offset(MAX_RECORDS)
    connection.execute(
        delete(_TABLE).where(table.number.in_(beyond.limit(len(rows)).scalar_subquery()))
    )
