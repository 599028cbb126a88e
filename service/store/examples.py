"""Examples with their embeddings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, func, insert, or_, select, update

from service.errors import LimitExceeded, NotFound
from service.store import schema
from service.store.embeddings import (
    chunks,
    delete_unneeded,
    holders,
    store_embeddings,
)
from service.store.heads import require_head

Change = Literal["added", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class NewExample:
    """What is stored for one input.

    Attributes:
        vector: float32, shape (dim,).
        label: None leaves a stored example's label as it is.
        weight: None is 1 for a new example and leaves a stored one's weight as it is.
        held_out: kept for testing; of uploads only.
        views: embeddings of views by their digests.
    """

    digest: str
    kind: str
    vector: NDArray[np.float32]
    label: str | None
    source: Literal["upload", "feedback"]
    input: bytes | None
    weight: float | None = None
    held_out: bool = False
    views: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExampleRecord:
    """An example without its embedding and input; `id` orders them by age."""

    id: int
    digest: str
    kind: str
    label: str | None
    source: str
    has_input: bool
    created_at: float
    weight: float
    held_out: bool


class _Stored(NamedTuple):
    """What an upload can change about an example."""

    label: str | None
    own_label: str | None
    weight: float
    held_out: bool


_RECORD = (
    schema.examples.c.id,
    schema.examples.c.digest,
    schema.examples.c.kind,
    schema.examples.c.label,
    schema.examples.c.source,
    schema.examples.c.input.is_not(None).label("has_input"),
    schema.examples.c.created_at,
    schema.examples.c.weight,
    schema.examples.c.held_out,
)


def find_kinds(connection: Connection, tenant: str, digests: Sequence[str]) -> dict[str, str]:
    """The kinds of inputs that a tenant has stored, by digest."""
    found: dict[str, str] = {}
    for chunk in chunks(digests):
        rows = connection.execute(
            select(schema.examples.c.digest, schema.examples.c.kind)
            .select_from(schema.examples.join(schema.heads).join(schema.tenants))
            .where(schema.tenants.c.name == tenant, schema.examples.c.digest.in_(chunk))
            .distinct()
        )
        found.update({digest: kind for digest, kind in rows})
    return found


def store_examples(
    connection: Connection, uid: str, new: Sequence[NewExample], *, max_examples: int
) -> list[Change]:
    """Stores examples with their embeddings; the last label of an input wins.

    An example without a label never takes the label of a stored one away. Feedback changes label
    and weight alone; an upload with a label supersedes the feedback on that input.

    Raises:
        NotFound: the head was deleted meanwhile.
        LimitExceeded: the head would have more than `max_examples`; nothing is stored.
    """
    head = require_head(connection, uid)
    stored = _find_stored(connection, uid, [example.digest for example in new])
    added = len({example.digest for example in new} - stored.keys())
    _check_room(connection, uid, added, max_examples)
    vectors = {example.digest: example.vector for example in new}
    for example in new:
        vectors |= example.views
    store_embeddings(connection, head, vectors)
    added_rows: dict[str, dict[str, Any]] = {}
    changes = [_store_example(connection, uid, example, stored, added_rows) for example in new]
    if added_rows:
        connection.execute(insert(schema.examples), list(added_rows.values()))
    uploads = [e.digest for e in new if e.source == "upload" and e.label is not None]
    supersede_feedback(connection, uid, uploads)
    return changes


def store_views(
    connection: Connection, uid: str, views: Mapping[str, Mapping[str, NDArray[np.float32]]]
) -> None:
    """Stores embeddings of views, by the digests of their images; not of deleted examples."""
    head = require_head(connection, uid)
    for digest in {digest for digest, _ in holders(connection, head, list(views))}:
        store_embeddings(connection, head, views[digest])


def list_examples(
    connection: Connection, uid: str, *, after: int, limit: int, label: str | None
) -> list[ExampleRecord]:
    """Examples in the order of their first storing, those with an id above `after` first."""
    table = schema.examples.c
    query = (
        select(*_RECORD)
        .where(table.head_uid == uid, table.id > after)
        .order_by(table.id)
        .limit(limit)
    )
    if label is not None:
        query = query.where(table.label == label)
    return [ExampleRecord(**row._mapping) for row in connection.execute(query)]


def find_examples(
    connection: Connection, uid: str, digests: Sequence[str]
) -> dict[str, ExampleRecord]:
    """A head's examples by digest; those that it does not have are left out."""
    table = schema.examples.c
    found: dict[str, ExampleRecord] = {}
    for chunk in chunks(digests):
        query = select(*_RECORD).where(table.head_uid == uid, table.digest.in_(chunk))
        found |= {row.digest: ExampleRecord(**row._mapping) for row in connection.execute(query)}
    return found


def update_label(connection: Connection, uid: str, digest: str, label: str | None) -> None:
    """Changes a stored example's label; feedback on it is superseded.

    Raises:
        NotFound: the head has no such example.
    """
    result = connection.execute(
        update(schema.examples)
        .filter_by(head_uid=uid, digest=digest)
        .values(label=label, own_label=label, source="upload")
    )
    if result.rowcount == 0:
        raise _no_example(digest)
    supersede_feedback(connection, uid, [digest])


def supersede_feedback(connection: Connection, uid: str, digests: Sequence[str]) -> None:
    """Notes that a later label has taken the place of what feedback said of these inputs."""
    for chunk in chunks(digests):
        connection.execute(
            update(schema.feedback)
            .where(
                schema.feedback.c.head_uid == uid,
                schema.feedback.c.digest.in_(chunk),
                schema.feedback.c.state != "superseded",
            )
            .values(state="superseded")
        )


def delete_example(connection: Connection, uid: str, digest: str) -> bool:
    """Deletes an example, and its embedding if no other example of the tenant needs it.

    Feedback on it no longer counts. Returns whether the embedding is gone.

    Raises:
        NotFound: the head has no such example.
    """
    head = require_head(connection, uid)
    result = connection.execute(delete(schema.examples).filter_by(head_uid=uid, digest=digest))
    if result.rowcount == 0:
        raise _no_example(digest)
    supersede_feedback(connection, uid, [digest])
    return bool(delete_unneeded(connection, head, [digest]))


def kept_digests(connection: Connection, uid: str, digests: Sequence[str]) -> set[str]:
    """Those of the digests whose raw input the head has kept; embeddings have none to keep."""
    found: set[str] = set()
    for chunk in chunks(digests):
        found.update(
            connection.scalars(
                select(schema.examples.c.digest).where(
                    schema.examples.c.head_uid == uid,
                    schema.examples.c.digest.in_(chunk),
                    or_(
                        schema.examples.c.input.is_not(None), schema.examples.c.kind == "embedding"
                    ),
                )
            )
        )
    return found


def find_inputs(connection: Connection, uid: str, digests: Sequence[str]) -> dict[str, bytes]:
    """Serialised inputs of a head's examples by digest, where they are kept."""
    table = schema.examples.c
    found: dict[str, bytes] = {}
    for chunk in chunks(digests):
        rows = connection.execute(
            select(table.digest, table.input).where(
                table.head_uid == uid, table.digest.in_(chunk), table.input.is_not(None)
            )
        )
        found.update({digest: data for digest, data in rows})
    return found


def _store_example(
    connection: Connection,
    uid: str,
    example: NewExample,
    stored: dict[str, _Stored],
    added: dict[str, dict[str, Any]],
) -> Change:
    before = stored.get(example.digest)
    after = _changed(example, before)
    stored[example.digest] = after
    values = after._asdict()
    if example.label is not None and after != before:
        values |= {"source": example.source}
    if example.input is not None:
        values |= {"input": example.input}
    if before is None:
        added[example.digest] = {
            "head_uid": uid,
            "digest": example.digest,
            "kind": example.kind,
            "source": example.source,
            "input": None,
            "created_at": time.time(),
            **values,
        }
        return "added"
    if example.digest in added:
        added[example.digest] |= values
    elif after != before or example.input is not None:
        connection.execute(
            update(schema.examples).filter_by(head_uid=uid, digest=example.digest).values(**values)
        )
    return "unchanged" if after._replace(own_label=before.own_label) == before else "updated"


def _changed(example: NewExample, before: _Stored | None) -> _Stored:
    """What an example is after an upload or feedback."""
    after = before or _Stored(None, None, 1.0, held_out=False)
    if example.label is not None:
        after = after._replace(label=example.label)
    if example.source == "feedback":
        return after
    if example.label is not None:
        after = after._replace(own_label=example.label)
    weight = after.weight if example.weight is None else example.weight
    return after._replace(weight=weight, held_out=example.held_out)


def _find_stored(connection: Connection, uid: str, digests: Sequence[str]) -> dict[str, _Stored]:
    table = schema.examples.c
    found: dict[str, _Stored] = {}
    for chunk in chunks(digests):
        rows = connection.execute(
            select(table.digest, table.label, table.own_label, table.weight, table.held_out).where(
                table.head_uid == uid, table.digest.in_(chunk)
            )
        )
        found.update({digest: _Stored(*values) for digest, *values in rows})
    return found


def _check_room(connection: Connection, uid: str, added: int, limit: int) -> None:
    count = connection.scalar(
        select(func.count()).select_from(schema.examples).where(schema.examples.c.head_uid == uid)
    )
    total = (count or 0) + added
    if added and total > limit:
        raise LimitExceeded(
            f"examples: at most {limit} per head, would be {total}",
            field="examples",
            limit=limit,
            value=total,
        )


def _no_example(digest: str) -> NotFound:
    return NotFound(f"digest: the head has no example {digest}", field="digest", value=digest)
