"""The feedback log. What it says becomes the label of an example in the same transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from service.errors import NotFound
from service.store import schema
from service.store.embeddings import chunks
from service.store.examples import NewExample, store_examples
from service.store.feedback_states import FeedbackState, release
from service.store.heads import require_head

MAX_ONLINE_POINTS = 50


@dataclass(frozen=True, slots=True)
class NewFeedback:
    """One feedback with what its example needs."""

    feedback_id: str
    example: NewExample
    label: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of new feedback.

    Attributes:
        duplicates: per row, whether its id was known before.
        superseded: whether an earlier label was taken back that a live copy may have learned.
    """

    duplicates: list[bool]
    superseded: bool


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """Feedback as stored; `id` orders it by age."""

    id: int
    feedback_id: str
    digest: str
    label: str
    state: FeedbackState
    active_version: int
    active_right: bool | None
    live_right: bool | None
    created_at: float


@dataclass(frozen=True, slots=True)
class OnlinePoint:
    """Accuracy in a stretch of feedback, each scored before it was learned.

    Attributes:
        feedback: scored feedback up to the stretch's end.
        scored: how much of it is in the stretch.
        active_accuracy: share of it on which the active version was right.
        live_accuracy: likewise the live copy.
        time: of its last feedback, seconds since the epoch.
    """

    feedback: int
    scored: int
    active_accuracy: float
    live_accuracy: float
    time: float


def store_feedback(
    connection: Connection, uid: str, new: Sequence[NewFeedback], *, max_examples: int
) -> Stored:
    """Appends feedback and makes its label the example's.

    What says the same again as live feedback on that input adds nothing, and is superseded at once.
    """
    head = require_head(connection, uid)
    seen = _seen_feedback(connection, uid, [item.feedback_id for item in new])
    fresh: dict[str, NewFeedback] = {}
    duplicates = []
    for item in new:
        duplicates.append(item.feedback_id in seen or item.feedback_id in fresh)
        if not duplicates[-1]:
            fresh[item.feedback_id] = item
    if not fresh:
        return Stored(duplicates, superseded=False)
    examples = [item.example for item in fresh.values()]
    pending = _pending(connection, uid, [example.digest for example in examples])
    rows: list[dict[str, Any]] = []
    current: dict[str, dict[str, Any]] = {}
    superseded: list[int] = []
    for item in fresh.values():
        row = {
            "head_uid": uid,
            "feedback_id": item.feedback_id,
            "digest": item.example.digest,
            "label": item.label,
            "active_version": head.active_version,
            "created_at": time.time(),
            "state": FeedbackState.LIVE,
        }
        rows.append(row)
        earlier = current.get(item.example.digest)
        stored = pending.get(item.example.digest, ())
        if earlier is not None and earlier["label"] == item.label:
            row["state"] = FeedbackState.SUPERSEDED
            continue
        if earlier is None and any(s.state == "live" and s.label == item.label for s in stored):
            row["state"] = FeedbackState.SUPERSEDED
            continue
        if earlier is not None:
            earlier["state"] = FeedbackState.SUPERSEDED
        superseded += [s.id for s in stored]
        current[item.example.digest] = row
    _supersede(connection, superseded)
    connection.execute(insert(schema.feedback), rows)
    store_examples(connection, uid, examples, max_examples=max_examples)
    return Stored(duplicates, superseded=bool(superseded))


def list_feedback(
    connection: Connection, uid: str, *, after: int, limit: int, state: FeedbackState | None
) -> list[FeedbackRecord]:
    """Feedback in the order of its coming, with an id above `after`."""
    table = schema.feedback.c
    query = (
        select(*(table[name] for name in FeedbackRecord.__dataclass_fields__))
        .where(table.head_uid == uid, table.id > after)
        .order_by(table.id)
        .limit(limit)
    )
    if state is not None:
        query = query.where(table.state == state)
    return [
        FeedbackRecord(**{**row._mapping, "state": FeedbackState(row.state)})
        for row in connection.execute(query)
    ]


def release_feedback(
    connection: Connection, uid: str, feedback_ids: Sequence[str] | None
) -> tuple[int, dict[int, NotFound]]:
    """Lets quarantined feedback count again; None means all of it.

    Returns:
        How much was released, and an error for each row whose id is of none in quarantine.
    """
    table = schema.feedback.c
    rows = connection.execute(
        select(table.id, table.feedback_id).where(
            table.head_uid == uid, table.state == FeedbackState.QUARANTINED
        )
    )
    quarantined = {row.feedback_id: row.id for row in rows}
    wanted = list(quarantined) if feedback_ids is None else list(feedback_ids)
    errors = {
        row: NotFound(f"id: no feedback {item} is in quarantine", field="ids", value=item)
        for row, item in enumerate(wanted)
        if item not in quarantined
    }
    ids = list(dict.fromkeys(quarantined[item] for item in wanted if item in quarantined))
    release(connection, uid, sorted(ids))
    return len(ids), errors


def online_accuracy(connection: Connection, uid: str) -> list[OnlinePoint]:
    """How often the active version and the live copy were right, oldest first.

    All feedback of the head that both were scored on, in at most 50 stretches of equal length.
    """
    table = schema.feedback.c
    rows = connection.execute(
        select(table.active_right, table.live_right, table.created_at)
        .where(
            table.head_uid == uid, table.active_right.is_not(None), table.live_right.is_not(None)
        )
        .order_by(table.id)
    ).all()
    size = -(-len(rows) // MAX_ONLINE_POINTS)
    points = []
    for start in range(0, len(rows), size or 1):
        part = rows[start : start + size]
        points.append(
            OnlinePoint(
                feedback=start + len(part),
                scored=len(part),
                active_accuracy=sum(row.active_right for row in part) / len(part),
                live_accuracy=sum(row.live_right for row in part) / len(part),
                time=part[-1].created_at,
            )
        )
    return points


def _pending(connection: Connection, uid: str, digests: Sequence[str]) -> dict[str, list[Any]]:
    """Feedback on these inputs that nothing was decided about for good, by digest."""
    table = schema.feedback.c
    found: dict[str, list[Any]] = {}
    for chunk in chunks(digests):
        rows = connection.execute(
            select(table.id, table.digest, table.label, table.state).where(
                table.head_uid == uid,
                table.digest.in_(chunk),
                table.state.in_((FeedbackState.LIVE, FeedbackState.QUARANTINED)),
            )
        )
        for row in rows:
            found.setdefault(row.digest, []).append(row)
    return found


def _supersede(connection: Connection, ids: Sequence[int]) -> None:
    if ids:
        connection.execute(
            update(schema.feedback)
            .where(schema.feedback.c.id.in_(ids))
            .values(state=FeedbackState.SUPERSEDED)
        )


def _seen_feedback(connection: Connection, uid: str, ids: Sequence[str]) -> set[str]:
    seen: set[str] = set()
    for chunk in chunks(ids):
        seen.update(
            connection.scalars(
                select(schema.feedback.c.feedback_id).where(
                    schema.feedback.c.head_uid == uid, schema.feedback.c.feedback_id.in_(chunk)
                )
            )
        )
    return seen
