"""Descriptions of labels: examples that stand for a label until it has others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select

from service.errors import PreconditionFailed
from service.store import schema
from service.store.example_rules import DESCRIPTION
from service.store.examples import NewExample, delete_example, find_examples, store_examples
from service.store.sql import select_among

ENOUGH = 2
"""Examples of a label that take the place of its description."""


def is_description() -> ColumnElement[bool]:
    """The condition that an example is a description of its label."""
    return schema.examples.c.source == DESCRIPTION


def is_trained_on() -> ColumnElement[bool]:
    """The condition that an example is trained on: a description is until its label has enough."""
    table, others = schema.examples.c, schema.examples.alias()
    count = (
        select(func.count())
        .where(
            others.c.head_uid == table.head_uid,
            others.c.label == table.label,
            others.c.held_out.is_(False),
            others.c.source != DESCRIPTION,
        )
        .correlate(schema.examples)
        .scalar_subquery()
    )
    return or_(table.source != DESCRIPTION, count < ENOUGH)


def replace_descriptions(
    connection: Connection,
    uid: str,
    new: Sequence[NewExample],
    *,
    max_examples: int,
    fingerprint: str,
) -> None:
    """Puts descriptions in the place of all that the head has.

    One whose text is an example of its label already is none: the example counts for more.

    Raises:
        PreconditionFailed: a text is an example of another label, or of none.
        NotFound, Aborted, LimitExceeded: as `store_examples`.
    """
    texts = {(example.digest, example.label) for example in new}
    stored = stored_descriptions(connection, uid)
    for digest, label in stored:
        if (digest, label) not in texts:
            delete_example(connection, uid, digest)
    there = find_examples(connection, uid, [example.digest for example in new])
    for example in new:
        if example.digest in there and there[example.digest].label != example.label:
            raise PreconditionFailed(
                f"descriptions: the text of {example.label!r} is a stored example already, with "
                f"{_shown(there[example.digest].label)}",
                field="descriptions",
                limit="a text that is no example of another label",
                value=example.label,
            )
    added = [example for example in new if example.digest not in there]
    if added:
        store_examples(connection, uid, added, max_examples=max_examples, fingerprint=fingerprint)


def _shown(label: str | None) -> str:
    return "no label" if label is None else f"the label {label!r}"


def delete_descriptions(connection: Connection, uid: str, label: str, *, kept: int = 0) -> None:
    """Deletes the descriptions of a label, but for so many of the oldest."""
    of_label = [digest for digest, of in stored_descriptions(connection, uid) if of == label]
    for digest in of_label[kept:]:
        delete_example(connection, uid, digest)


def stored_descriptions(connection: Connection, uid: str) -> list[tuple[str, str]]:
    """Returns digest and label of a head's descriptions, oldest first."""
    table = schema.examples.c
    query = select(table.digest, table.label).where(table.head_uid == uid, is_description())
    return [(digest, label) for digest, label in connection.execute(query.order_by(table.id))]


def description_inputs(connection: Connection, uid: str) -> dict[str, bytes]:
    """Returns the stored input of each description by its label."""
    table = schema.examples.c
    query = select(table.label, table.input).where(
        table.head_uid == uid, is_description(), table.label.is_not(None)
    )
    return {label: data for label, data in connection.execute(query) if data is not None}


def among(connection: Connection, uid: str, digests: Collection[str]) -> set[str]:
    """Returns those of a head's examples that are descriptions, by their digests."""
    table = schema.examples.c
    query: Any = select(table.digest).where(table.head_uid == uid, is_description())
    return {row.digest for row in select_among(connection, query, table.digest, list(digests))}
