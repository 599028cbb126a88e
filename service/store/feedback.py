"""The feedback log. What it says becomes the label of an example in the same transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from service.store import schema
from service.store.examples import NewExample, chunks, store_examples
from service.store.heads import require_head


@dataclass(frozen=True, slots=True)
class NewFeedback:
    """One feedback with what its example needs."""

    feedback_id: str
    example: NewExample
    label: str


def store_feedback(
    connection: Connection, uid: str, new: Sequence[NewFeedback], *, max_examples: int
) -> list[bool]:
    """Appends feedback and makes its label the example's; True where the id was known before."""
    head = require_head(connection, uid)
    seen = _seen_feedback(connection, uid, [item.feedback_id for item in new])
    fresh: dict[str, NewFeedback] = {}
    duplicates = []
    for item in new:
        duplicates.append(item.feedback_id in seen or item.feedback_id in fresh)
        if not duplicates[-1]:
            fresh[item.feedback_id] = item
    if fresh:
        rows = [
            {
                "head_uid": uid,
                "feedback_id": item.feedback_id,
                "digest": item.example.digest,
                "label": item.label,
                "active_version": head.active_version,
                "created_at": time.time(),
            }
            for item in fresh.values()
        ]
        connection.execute(insert(schema.feedback), rows)
        examples = [item.example for item in fresh.values()]
        store_examples(connection, uid, examples, max_examples=max_examples)
    return duplicates


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
