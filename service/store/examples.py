"""Examples with their embeddings."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Insert, Table, and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.errors import LimitExceeded, NotFound
from service.store import schema
from service.store.heads import HeadRecord, require_head

_CHUNK = 500  # bound parameters of one IN clause
_VECTOR_DTYPE = "<f4"

Change = Literal["added", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class NewExample:
    """What is stored for one input. `vector` is float32, shape (dim,)."""

    digest: str
    kind: str
    vector: NDArray[np.float32]
    label: str | None
    source: Literal["upload", "feedback"]
    input: bytes | None


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


def known_digests(connection: Connection, head: HeadRecord, digests: Sequence[str]) -> set[str]:
    """Those of the digests that have a stored embedding in the head's tenant and backbone."""
    known: set[str] = set()
    for chunk in chunks(digests):
        known.update(
            connection.scalars(
                select(schema.embeddings.c.digest).where(
                    schema.embeddings.c.tenant_id == head.tenant_id,
                    schema.embeddings.c.fingerprint == head.fingerprint,
                    schema.embeddings.c.digest.in_(chunk),
                )
            )
        )
    return known


def find_embeddings(
    connection: Connection, tenant: str, fingerprint: str, digests: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Stored embeddings of a tenant by digest; those that are missing are left out."""
    found: dict[str, NDArray[np.float32]] = {}
    for chunk in chunks(digests):
        rows = connection.execute(
            select(schema.embeddings.c.digest, schema.embeddings.c.vector)
            .join_from(schema.embeddings, schema.tenants)
            .where(
                schema.tenants.c.name == tenant,
                schema.embeddings.c.fingerprint == fingerprint,
                schema.embeddings.c.digest.in_(chunk),
            )
        )
        found.update({digest: _vector(data) for digest, data in rows})
    return found


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

    An example without a label never takes the label of a stored one away.

    Raises:
        NotFound: the head was deleted meanwhile.
        LimitExceeded: the head would have more than `max_examples`; nothing is stored.
    """
    head = require_head(connection, uid)
    stored = _stored_labels(connection, uid, [example.digest for example in new])
    added = len({example.digest for example in new} - stored.keys())
    _check_room(connection, uid, added, max_examples)
    store_embeddings(connection, head, new)
    added_rows: dict[str, dict[str, Any]] = {}
    changes = [_store_example(connection, uid, example, stored, added_rows) for example in new]
    if added_rows:
        connection.execute(insert(schema.examples), list(added_rows.values()))
    return changes


def store_embeddings(connection: Connection, head: HeadRecord, new: Iterable[NewExample]) -> None:
    """Stores embeddings that are not there yet."""
    rows = [
        {
            "tenant_id": head.tenant_id,
            "fingerprint": head.fingerprint,
            "digest": example.digest,
            "vector": example.vector.astype(_VECTOR_DTYPE).tobytes(),
        }
        for example in new
    ]
    if rows:
        connection.execute(_insert_if_absent(connection, schema.embeddings), rows)


def list_examples(
    connection: Connection, uid: str, *, after: int, limit: int, label: str | None
) -> list[ExampleRecord]:
    """Examples in the order of their first storing, those with an id above `after` first."""
    table = schema.examples
    query = (
        select(
            table.c.id,
            table.c.digest,
            table.c.kind,
            table.c.label,
            table.c.source,
            table.c.input.is_not(None).label("has_input"),
            table.c.created_at,
        )
        .where(table.c.head_uid == uid, table.c.id > after)
        .order_by(table.c.id)
        .limit(limit)
    )
    if label is not None:
        query = query.where(table.c.label == label)
    return [ExampleRecord(**row._mapping) for row in connection.execute(query)]


def update_label(connection: Connection, uid: str, digest: str, label: str | None) -> None:
    """Changes a stored example's label.

    Raises:
        NotFound: the head has no such example.
    """
    result = connection.execute(
        update(schema.examples).filter_by(head_uid=uid, digest=digest).values(label=label)
    )
    if result.rowcount == 0:
        raise _no_example(digest)


def delete_example(connection: Connection, uid: str, digest: str) -> None:
    """Deletes an example, and its embedding if no other example of the tenant needs it.

    Raises:
        NotFound: the head has no such example.
    """
    head = require_head(connection, uid)
    result = connection.execute(delete(schema.examples).filter_by(head_uid=uid, digest=digest))
    if result.rowcount == 0:
        raise _no_example(digest)
    needed = connection.scalar(
        select(func.count())
        .select_from(schema.examples.join(schema.heads))
        .where(
            schema.examples.c.digest == digest,
            schema.heads.c.tenant_id == head.tenant_id,
            schema.heads.c.fingerprint == head.fingerprint,
        )
    )
    if not needed:
        connection.execute(
            delete(schema.embeddings).filter_by(
                tenant_id=head.tenant_id, fingerprint=head.fingerprint, digest=digest
            )
        )


def label_counts(connection: Connection, uid: str) -> dict[str, int]:
    """How many examples each label of the head has."""
    rows = connection.execute(
        select(schema.examples.c.label, func.count())
        .where(schema.examples.c.head_uid == uid, schema.examples.c.label.is_not(None))
        .group_by(schema.examples.c.label)
    )
    return {str(label): count for label, count in rows}


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


def training_set(connection: Connection, uid: str) -> tuple[NDArray[np.float32], list[str]]:
    """Embeddings (n, dim) and labels of a head's labelled examples, in the order of storing."""
    head = require_head(connection, uid)
    rows = connection.execute(
        select(schema.embeddings.c.vector, schema.examples.c.label)
        .select_from(schema.examples)
        .join(
            schema.embeddings,
            and_(
                schema.embeddings.c.tenant_id == head.tenant_id,
                schema.embeddings.c.fingerprint == head.fingerprint,
                schema.embeddings.c.digest == schema.examples.c.digest,
            ),
        )
        .where(schema.examples.c.head_uid == uid, schema.examples.c.label.is_not(None))
        .order_by(schema.examples.c.id)
    ).all()
    if not rows:
        return np.empty((0, 0), dtype=np.float32), []
    return np.stack([_vector(data) for data, _ in rows]), [str(label) for _, label in rows]


def _store_example(
    connection: Connection,
    uid: str,
    example: NewExample,
    stored: dict[str, str | None],
    added: dict[str, dict[str, Any]],
) -> Change:
    if example.digest not in stored:
        added[example.digest] = {
            "head_uid": uid,
            "digest": example.digest,
            "kind": example.kind,
            "label": example.label,
            "source": example.source,
            "input": example.input,
            "created_at": time.time(),
        }
        stored[example.digest] = example.label
        return "added"
    changes: dict[str, Any] = {}
    if example.label is not None and example.label != stored[example.digest]:
        changes |= {"label": example.label, "source": example.source}
        stored[example.digest] = example.label
    if example.input is not None:
        changes |= {"input": example.input}
    if changes and example.digest in added:
        added[example.digest] |= changes
    elif changes:
        connection.execute(
            update(schema.examples).filter_by(head_uid=uid, digest=example.digest).values(**changes)
        )
    return "updated" if "label" in changes else "unchanged"


def _stored_labels(
    connection: Connection, uid: str, digests: Sequence[str]
) -> dict[str, str | None]:
    labels: dict[str, str | None] = {}
    for chunk in chunks(digests):
        rows = connection.execute(
            select(schema.examples.c.digest, schema.examples.c.label).where(
                schema.examples.c.head_uid == uid, schema.examples.c.digest.in_(chunk)
            )
        )
        labels.update({digest: label for digest, label in rows})
    return labels


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


def _insert_if_absent(connection: Connection, table: Table) -> Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def _vector(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, dtype=_VECTOR_DTYPE)


def chunks(digests: Sequence[str]) -> Iterable[Sequence[str]]:
    """Parts that fit the bound parameters of one IN clause."""
    return (digests[i : i + _CHUNK] for i in range(0, len(digests), _CHUNK))


def _no_example(digest: str) -> NotFound:
    return NotFound(f"digest: the head has no example {digest}", field="digest", value=digest)
