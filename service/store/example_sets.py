"""Examples with their embeddings, as trainings and suggestions take them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, select

from service.store import schema
from service.store.descriptions import is_trained_on
from service.store.embeddings import checked_vector
from service.store.example_rules import DESCRIPTION
from service.store.heads import require_head
from service.store.version_members import members_of


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Labelled examples in the order of their first storing.

    Attributes:
        embeddings: float32, shape (n, dim).
        weights: float64, shape (n,).
        groups: what each belongs to, None for those of none. A description is of the group of its
            label's only other example: neither is held out then.
        descriptions: digests of those that are descriptions of labels.
    """

    embeddings: NDArray[np.float32]
    labels: list[str]
    digests: list[str]
    weights: NDArray[np.float64]
    groups: list[str | None]
    descriptions: frozenset[str] = frozenset()

    @property
    def members(self) -> dict[str, str]:
        """Label by digest."""
        return dict(zip(self.digests, self.labels, strict=True))

    def without(self, digests: Set[str]) -> LabelledSet:
        """Returns the set without these examples."""
        rows = [i for i, digest in enumerate(self.digests) if digest not in digests]
        return LabelledSet(
            self.embeddings[rows],
            [self.labels[i] for i in rows],
            [self.digests[i] for i in rows],
            self.weights[rows],
            [self.groups[i] for i in rows],
            self.descriptions - digests,
        )


def label_counts(connection: Connection, uid: str) -> dict[str, int]:
    """Returns how many examples each label of the head has to train on."""
    rows = connection.execute(
        select(schema.examples.c.label, func.count())
        .where(
            schema.examples.c.head_uid == uid,
            schema.examples.c.label.is_not(None),
            schema.examples.c.held_out.is_(False),
            is_trained_on(),
        )
        .group_by(schema.examples.c.label)
    )
    return {str(label): count for label, count in rows}


def training_set(connection: Connection, uid: str, fingerprint: str | None = None) -> LabelledSet:
    """Returns the labelled examples of a head that are not held out.

    Args:
        fingerprint: of what made their embeddings; None for the head's backbone.
    """
    used = and_(schema.examples.c.held_out.is_(False), is_trained_on())
    return _labelled(connection, uid, used, fingerprint)


def version_set(connection: Connection, uid: str, version: int) -> LabelledSet:
    """Returns what a version was trained on, with the labels of then, as far as it counts still.

    Labels that came since, by feedback or otherwise, are for the live copy and the next training.
    """
    labels = members_of(connection, uid, version)
    stored = training_set(connection, uid)
    members = stored.without(set(stored.digests) - labels.keys())
    return replace(members, labels=[labels[digest] for digest in members.digests])


def training_digests(connection: Connection, uid: str) -> list[str]:
    """Returns the digests of the training set."""
    table = schema.examples.c
    query = select(table.digest).where(
        table.head_uid == uid, table.label.is_not(None), table.held_out.is_(False), is_trained_on()
    )
    return list(connection.scalars(query.order_by(table.id)))


def held_out_set(connection: Connection, uid: str, fingerprint: str | None = None) -> LabelledSet:
    """Returns the labelled examples of a head that are held out for testing.

    Args:
        fingerprint: of what made their embeddings; None for the head's backbone.
    """
    tests = and_(schema.examples.c.held_out.is_(True), schema.examples.c.source != DESCRIPTION)
    return _labelled(connection, uid, tests, fingerprint)


def unlabelled_set(
    connection: Connection, uid: str, limit: int, fingerprint: str | None = None
) -> tuple[list[str], NDArray[np.float32]]:
    """Returns digests and embeddings (n, dim) of a head's newest examples without a label.

    Args:
        fingerprint: of what made the embeddings; None for the head's backbone.
    """
    table = schema.examples.c
    query = (
        _with_embeddings(connection, uid, fingerprint, table.digest)
        .where(table.label.is_(None), table.held_out.is_(False))
        .order_by(table.id.desc())
        .limit(limit)
    )
    rows = connection.execute(query).all()
    return [str(row.digest) for row in rows], _stack(rows)


def without_embedding(connection: Connection, uid: str, fingerprint: str) -> dict[str, bool]:
    """Returns digests of a head's examples that lack an embedding of a backbone or tail.

    Each says whether the input is kept, so that it can be made.
    """
    head, table, vectors = require_head(connection, uid), schema.examples.c, schema.embeddings.c
    rows = connection.execute(
        select(table.digest, table.input.is_not(None))
        .select_from(schema.examples)
        .outerjoin(
            schema.embeddings,
            and_(
                vectors.tenant_id == head.tenant_id,
                vectors.fingerprint == fingerprint,
                vectors.digest == table.digest,
            ),
        )
        .where(table.head_uid == uid, vectors.id.is_(None))
        .order_by(table.id)
    )
    return {digest: kept for digest, kept in rows}


def _labelled(
    connection: Connection, uid: str, which: ColumnElement[bool], fingerprint: str | None
) -> LabelledSet:
    table = schema.examples.c
    query = (
        _with_embeddings(
            connection,
            uid,
            fingerprint,
            *(table.label, table.digest, table.weight, table.group, table.source),
        )
        .where(table.label.is_not(None), which)
        .order_by(table.id)
    )
    rows = connection.execute(query).all()
    return LabelledSet(
        _stack(rows),
        [str(row.label) for row in rows],
        [str(row.digest) for row in rows],
        np.array([row.weight for row in rows], dtype=np.float64),
        _groups(rows),
        frozenset(row.digest for row in rows if row.source == DESCRIPTION),
    )


def _groups(rows: Sequence[Row[Any]]) -> list[str | None]:
    """Returns the group of each example."""
    described = {row.label for row in rows if row.source == DESCRIPTION}
    others = {row.label: row for row in rows if row.source != DESCRIPTION}
    shared = {
        label: others[label].group or f"\0{label}"  # a name that nobody can give
        for label in described & others.keys()
    }
    return [shared.get(row.label, row.group) for row in rows]


def _with_embeddings(
    connection: Connection, uid: str, fingerprint: str | None, *columns: ColumnElement[Any]
) -> Select[Any]:
    """Selects columns of a head's examples, each with the embedding, as `_stack` takes them."""
    head = require_head(connection, uid)
    return (
        select(schema.embeddings.c.vector, schema.embeddings.c.crc32, *columns)
        .select_from(schema.examples)
        .join(
            schema.embeddings,
            and_(
                schema.embeddings.c.tenant_id == head.tenant_id,
                schema.embeddings.c.fingerprint == (fingerprint or head.fingerprint),
                schema.embeddings.c.digest == schema.examples.c.digest,
            ),
        )
        .where(schema.examples.c.head_uid == uid)
    )


def _stack(rows: Sequence[Row[Any]]) -> NDArray[np.float32]:
    if not rows:
        return np.empty((0, 0), dtype=np.float32)
    return np.stack([checked_vector(row.digest, row.vector, row.crc32) for row in rows])
