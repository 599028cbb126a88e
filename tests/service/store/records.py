"""Heads, versions, examples and feedback to put into a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, select

from service.store import Database, schema
from service.store import heads as stored_heads
from service.store import versions as stored_versions
from service.store.changes import Changed
from service.store.examples import NewExample, store_examples
from service.store.feedback import NewFeedback
from service.store.head_records import HeadRecord
from tests.service.tiny_backbone import FINGERPRINT, vector_of
from trunkline.digest import text_digest

MANY = 1_000_000


async def changed_by(database: Database, function: Callable[..., Any], *args: Any) -> Changed:
    """Writes, and returns what is told of it."""
    told: list[Changed] = []
    database.follow(told.append)
    await database.write(function, *args)
    return told[0]


def new_head(
    connection: Connection,
    name: str = "defects",
    tenant: str = "acme",
    fingerprint: str = FINGERPRINT,
) -> HeadRecord:
    return stored_heads.create_head(
        connection,
        tenant=tenant,
        name=name,
        backbone="tiny/text",
        fingerprint=fingerprint,
        spec={"family": "auto", "seed": 0, "l2": None},
        keep_inputs=False,
    )


def example(text: str, label: str | None = None, *, keep: bool = False) -> NewExample:
    kept = text.encode() if keep else None
    return NewExample(text_digest(text), "text", vector_of(text), label, "upload", kept)


def feedback(feedback_id: str, text: str, label: str) -> NewFeedback:
    item = NewExample(text_digest(text), "text", vector_of(text), label, "feedback", None)
    return NewFeedback(feedback_id, item, label)


def by_feedback_id(connection: Connection, uid: str, column: str) -> dict[str, str]:
    """A column of a head's log of feedback."""
    table = schema.feedback.c
    rows = connection.execute(select(table.feedback_id, table[column]).where(table.head_uid == uid))
    return {feedback_id: value for feedback_id, value in rows}


def add_examples(connection: Connection, uid: str, *new: NewExample) -> list[str]:
    return list(store_examples(connection, uid, new, max_examples=MANY).changes)


def add_version(
    connection: Connection,
    uid: str,
    data: bytes = b"w",
    *,
    activate: bool,
    report: dict[str, Any] | None = None,
) -> int:
    return stored_versions.add_version(
        connection,
        uid,
        source="training",
        labels=("a", "b"),
        report={"family": "ridge"} if report is None else report,
        example_count=4,
        safetensors=data,
        activate=activate,
    )
