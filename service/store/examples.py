"""Examples with their embeddings."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, and_, delete, false, func, insert, select, update

from service.errors import Aborted, LimitExceeded, NotFound
from service.store import schema
from service.store.changes import changed_in
from service.store.embeddings import delete_unneeded, store_embeddings
from service.store.example_rules import Change, Noted, Source, State, Statement, decide
from service.store.head_records import HeadRecord
from service.store.heads import require_head
from service.store.metadata import find_metadata, replace_metadata
from service.store.sql import execute_among, select_among
from service.store.tenants import within_quotas


@dataclass(frozen=True, slots=True)
class NewExample:
    """What is stored for one input.

    Attributes:
        vector: float32, shape (dim,).
        label: None leaves a stored example's label as it is.
        weight: None is 1 for a new example and leaves a stored one's weight as it is.
        held_out: kept for testing; of uploads only.
        group: what it belongs to; None leaves a stored example's as it is, "" takes it away.
        external_id: the caller's name for it; likewise.
        metadata: pairs that the caller says of it; None leaves a stored example's as they are.
        views: embeddings of views by their digests.
        tail: fingerprint of the tail that the active version runs on, and what it makes of the
            input; None for a version on the backbone itself.
        truncated: whether it is a text that is longer than the backbone's window.
    """

    digest: str
    kind: str
    vector: NDArray[np.float32]
    label: str | None
    source: Source
    input: bytes | None
    weight: float | None = None
    held_out: bool = False
    group: str | None = None
    external_id: str | None = None
    metadata: Mapping[str, str] | None = None
    views: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    tail: tuple[str, NDArray[np.float32]] | None = None
    truncated: bool = False


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
    group: str | None
    external_id: str | None
    reviewer: str | None
    truncated: bool
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StoredRows:
    """What became of rows: of each, the change, and what it changed about what was there."""

    changes: list[Change]
    noted: list[list[Noted]]


RECORD = (
    schema.examples.c.id,
    schema.examples.c.digest,
    schema.examples.c.kind,
    schema.examples.c.label,
    schema.examples.c.source,
    schema.examples.c.input.is_not(None).label("has_input"),
    schema.examples.c.created_at,
    schema.examples.c.weight,
    schema.examples.c.held_out,
    schema.examples.c.group,
    schema.examples.c.external_id,
    schema.examples.c.reviewer,
    func.coalesce(
        select(schema.embeddings.c.truncated)
        .join_from(
            schema.heads,
            schema.embeddings,
            and_(
                schema.embeddings.c.tenant_id == schema.heads.c.tenant_id,
                schema.embeddings.c.fingerprint == schema.heads.c.fingerprint,
            ),
        )
        .where(
            schema.heads.c.uid == schema.examples.c.head_uid,
            schema.embeddings.c.digest == schema.examples.c.digest,
        )
        .scalar_subquery(),
        false(),
    ).label("truncated"),
)
"""Columns of examples of which `records_of` makes records."""


def store_examples(
    connection: Connection,
    uid: str,
    new: Sequence[NewExample],
    *,
    max_examples: int,
    fingerprint: str | None = None,
    earlier: Mapping[str, str | None] = MappingProxyType({}),
    overwrite: bool = False,
) -> StoredRows:
    """Stores examples with their embeddings; the last label of an input wins.

    An example without a label never takes the label of a stored one away. Feedback changes the
    label alone, which live copies learn by itself. An upload supersedes the feedback on an input if
    it says anything new of it.

    Args:
        fingerprint: of the backbone that made the embeddings; None for the head's own.
        earlier: as in `example_rules.decide`.
        overwrite: likewise.

    Raises:
        NotFound: the head was deleted meanwhile.
        Aborted: it has moved to another backbone meanwhile.
        LimitExceeded: the head would have more than `max_examples`, or the tenant more than its
            quotas; nothing is stored.
    """
    head = require_head(connection, uid)
    if fingerprint not in (None, head.fingerprint):
        raise Aborted(
            f"head: {head.resource} has moved to {head.backbone} meanwhile; send it again",
            field="head",
            retry_after=1.0,
        )
    stored = _find_states(connection, uid, [example.digest for example in new])
    added = len({example.digest for example in new} - stored.keys())
    _check_count(connection, uid, added, max_examples)
    vectors = {example.digest: example.vector for example in new}
    for example in new:
        vectors |= example.views
    truncated = {example.digest for example in new if example.truncated}
    said = [
        Statement(
            e.digest, e.label, e.source, e.weight, e.held_out, e.group, e.external_id, e.metadata
        )
        for e in new
    ]
    decision = decide(said, stored, earlier, overwrite=overwrite)
    with within_quotas(connection, head.tenant_id):
        store_embeddings(connection, head, vectors, truncated=truncated)
        _store_by_tail(connection, head, new)
        _write(connection, uid, new, stored, decision.states)
    if stored and any(example.source == "upload" for example in new):
        changed_in(connection).live.add(uid)
    supersede_feedback(connection, uid, decision.overruled)
    return StoredRows(decision.changes, decision.noted)


def store_views(
    connection: Connection,
    uid: str,
    views: Mapping[str, Mapping[str, NDArray[np.float32]]],
    fingerprint: str | None = None,
) -> None:
    """Stores embeddings of views, by the digests of their images, unless the example was deleted.

    Args:
        fingerprint: of what made them; None for the head's backbone.
    """
    head = require_head(connection, uid)
    with within_quotas(connection, head.tenant_id):
        for digest in find_examples(connection, uid, list(views)):
            store_embeddings(connection, head, views[digest], fingerprint)


def store_vectors(
    connection: Connection,
    uid: str,
    fingerprint: str,
    vectors: Mapping[str, NDArray[np.float32]],
    truncated: Container[str] = (),
) -> None:
    """Stores embeddings of a head's examples by a backbone or tail; not of deleted examples.

    No quota refuses them: versions need them that are there, and a head that moves has its old ones
    until it has moved.

    Args:
        truncated: digests of texts that are longer than the backbone's window.

    Raises:
        NotFound: the head was deleted meanwhile.
    """
    head = require_head(connection, uid)
    held = find_examples(connection, uid, list(vectors))
    store_embeddings(connection, head, {d: vectors[d] for d in held}, fingerprint, truncated)


def list_examples(
    connection: Connection,
    uid: str,
    *,
    after: int,
    limit: int,
    label: str | None,
    external_ids: Sequence[str] = (),
) -> list[ExampleRecord]:
    """Returns examples with an id above `after`, in the order of their first storing.

    Args:
        label: None for any.
        external_ids: likewise, if there are none.
    """
    table = schema.examples.c
    query = (
        select(*RECORD)
        .where(table.head_uid == uid, table.id > after)
        .order_by(table.id)
        .limit(limit)
    )
    if label is not None:
        query = query.where(table.label == label)
    if external_ids:
        query = query.where(table.external_id.in_(external_ids))
    return records_of(connection, uid, connection.execute(query).all())


def find_by_prefix(
    connection: Connection, uid: str, prefixes: Sequence[str]
) -> list[ExampleRecord]:
    """Returns a head's examples whose digests begin so, in the order of their first storing."""
    table = schema.examples.c
    found: dict[int, Row[Any]] = {}
    for prefix in prefixes:
        after = prefix + "g"  # no hexadecimal digit comes later
        query = select(*RECORD).where(
            table.head_uid == uid, table.digest >= prefix, table.digest < after
        )
        found |= {row.id: row for row in connection.execute(query)}
    return records_of(connection, uid, [found[number] for number in sorted(found)])


def all_digests(connection: Connection, uid: str) -> list[str]:
    """Returns the digests of all examples of a head; none for a deleted head."""
    return list(connection.scalars(select(schema.examples.c.digest).filter_by(head_uid=uid)))


def find_examples(
    connection: Connection, uid: str, digests: Sequence[str]
) -> dict[str, ExampleRecord]:
    """Returns a head's examples by digest; those that it does not have are left out."""
    table = schema.examples.c
    query = select(*RECORD).where(table.head_uid == uid)
    rows = list(select_among(connection, query, table.digest, digests))
    return {record.digest: record for record in records_of(connection, uid, rows)}


def records_of(connection: Connection, uid: str, rows: Sequence[Row[Any]]) -> list[ExampleRecord]:
    """Makes records of a head's rows, each of the columns `RECORD`."""
    pairs = find_metadata(connection, uid, [row.digest for row in rows])
    return [ExampleRecord(**row._mapping, metadata=pairs.get(row.digest, {})) for row in rows]


def update_label(connection: Connection, uid: str, digest: str, label: str | None) -> bool:
    """Changes a stored example's label; feedback on it is superseded.

    Returns whether that replaced a correction by feedback.

    Raises:
        NotFound: the head has no such example.
    """
    before = _find_states(connection, uid, [digest]).get(digest)
    if before is None:
        raise _no_example(digest)
    connection.execute(
        update(schema.examples)
        .filter_by(head_uid=uid, digest=digest)
        .values(label=label, own_label=label, source="upload", reviewer=None)
    )
    changed_in(connection).live.add(uid)
    supersede_feedback(connection, uid, [digest])
    return before.source == "feedback" and before.label not in (None, label)


def supersede_feedback(connection: Connection, uid: str, digests: Sequence[str]) -> None:
    """Marks feedback on these inputs as superseded by a later label."""
    table = schema.feedback
    statement = (
        update(table)
        .where(table.c.head_uid == uid, table.c.state != "superseded")
        .values(state="superseded")
    )
    execute_among(connection, statement, table.c.digest, digests)


def delete_example(connection: Connection, uid: str, digest: str) -> None:
    """Deletes an example, and its embeddings as far as no other head of the tenant needs them.

    Feedback on it no longer counts.

    Raises:
        NotFound: the head has no such example.
    """
    head = require_head(connection, uid)
    result = connection.execute(delete(schema.examples).filter_by(head_uid=uid, digest=digest))
    if result.rowcount == 0:
        raise _no_example(digest)
    supersede_feedback(connection, uid, [digest])
    delete_unneeded(connection, head, [digest])
    changed_in(connection).live.add(uid)


def _store_by_tail(connection: Connection, head: HeadRecord, new: Sequence[NewExample]) -> None:
    """Stores what tails made of inputs, unless another version has taken over meanwhile."""
    vectors = {
        example.digest: example.tail[1]
        for example in new
        if example.tail is not None and example.tail[0] == head.tail
    }
    truncated = {example.digest for example in new if example.truncated}
    store_embeddings(connection, head, vectors, head.tail, truncated)


def _write(
    connection: Connection,
    uid: str,
    new: Sequence[NewExample],
    stored: Mapping[str, State],
    states: Mapping[str, State],
) -> None:
    """Writes the examples that are new, have changed, or whose inputs came along."""
    pairs = {
        digest: state.metadata
        for digest, state in states.items()
        if state.metadata != (stored[digest].metadata if digest in stored else {})
    }
    kinds = {example.digest: example.kind for example in new}
    inputs = {example.digest: example.input for example in new if example.input is not None}
    added: list[dict[str, Any]] = []
    for digest, state in states.items():
        values = state._asdict()
        del values["metadata"]
        if digest not in stored:
            own = {"head_uid": uid, "digest": digest, "created_at": time.time()}
            kept = {"kind": kinds[digest], "input": inputs.get(digest)}
            added.append(own | kept | values)
        elif state != stored[digest] or digest in inputs:
            if state.own_label != stored[digest].own_label:
                values |= {"reviewer": None}
            if digest in inputs:
                values |= {"input": inputs[digest]}
            connection.execute(
                update(schema.examples).filter_by(head_uid=uid, digest=digest).values(**values)
            )
    if added:
        connection.execute(insert(schema.examples), added)
    replace_metadata(connection, uid, pairs)


def _find_states(connection: Connection, uid: str, digests: Sequence[str]) -> dict[str, State]:
    table = schema.examples.c
    columns = [table[name] for name in State._fields if name != "metadata"]
    query = select(table.digest, *columns).where(table.head_uid == uid)
    rows = select_among(connection, query, table.digest, digests)
    found = {digest: State(*values) for digest, *values in rows}
    pairs = find_metadata(connection, uid, list(found))
    return {
        digest: state._replace(metadata=pairs.get(digest, {})) for digest, state in found.items()
    }


def _check_count(connection: Connection, uid: str, added: int, limit: int) -> None:
    count = connection.scalar(
        select(func.count()).select_from(schema.examples).where(schema.examples.c.head_uid == uid)
    )
    total = (count or 0) + added
    if added and total > limit:
        raise LimitExceeded.at(
            "examples", "at most {limit} per head, would be {value}", limit, total
        )


def _no_example(digest: str) -> NotFound:
    return NotFound(f"digest: the head has no example {digest}", field="digest", value=digest)
