"""The examples and feedback that a live copy is built on, read in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, exists, select

from service.store import schema
from service.store.embeddings import find_embeddings, known_digests
from service.store.example_rules import DESCRIPTION
from service.store.feedback_states import FeedbackState, labels_without_live
from service.store.head_records import HeadRecord
from service.store.heads import require_head
from service.store.sql import select_among
from service.store.version_members import members_of
from service.store.versions import get_version, get_weights


@dataclass(frozen=True, slots=True)
class Member:
    """An example that the active version knew, as it counts without live feedback.

    `anchor` says whether somebody vouches for its label: it was uploaded, set or released.
    `described` says that it is a description of its label.
    """

    digest: str
    vector: NDArray[np.float32]
    label: str
    weight: float
    anchor: bool
    group: str | None = None
    described: bool = False


@dataclass(frozen=True, slots=True)
class LiveFeedback:
    """Feedback behind the live copy; who was right is None until it has been learned."""

    id: int
    digest: str
    vector: NDArray[np.float32]
    label: str
    weight: float
    active_right: bool | None
    live_right: bool | None
    group: str | None = None

    @property
    def learned(self) -> bool:
        """Whether it was scored, and so is part of the copy."""
        return self.active_right is not None


@dataclass(frozen=True, slots=True)
class LiveSet:
    """All that a live copy is built on: the same set makes the same copy.

    `members` is empty after a change in the stream. `weights` is the active version's safetensors
    file, None where there is no live feedback or no version that a copy could move on from. `spec`
    is what the version was trained with, as JSON; None where its report does not say.
    """

    head: HeadRecord
    weights: bytes | None
    members: list[Member]
    feedback: list[LiveFeedback]
    spec: dict[str, Any] | None = None


def live_set(connection: Connection, uid: str) -> LiveSet:
    """Returns what the head's live copy is to be built on.

    Raises:
        NotFound: the head was deleted.
    """
    head = require_head(connection, uid)
    feedback = live_feedback(connection, head)
    if not (feedback and head.active_version):
        return LiveSet(head, None, [], feedback)
    weights = get_weights(connection, uid, head.active_version)
    spec = get_version(connection, uid, head.active_version).report.get("spec")
    return LiveSet(head, weights, _members(connection, head), feedback, spec)


def live_feedback(connection: Connection, head: HeadRecord, after: int = 0) -> list[LiveFeedback]:
    """Returns live feedback with an id above `after`, oldest first."""
    rows = _live_rows(connection, head, after)
    vectors = _vectors(connection, head, [row.digest for row in rows])
    return [
        LiveFeedback(
            row.id,
            row.digest,
            vectors[row.digest],
            row.label,
            row.weight,
            row.active_right,
            row.live_right,
            row.group,
        )
        for row in rows
        if row.digest in vectors
    ]


def newer_feedback(
    connection: Connection, uid: str, version: int, after: int
) -> list[LiveFeedback] | None:
    """Returns live feedback with an id above `after`; None if another version is active."""
    head = require_head(connection, uid)
    return live_feedback(connection, head, after) if head.active_version == version else None


def live_labels(connection: Connection, uid: str) -> set[str]:
    """Returns the labels of a head's live feedback."""
    table = schema.feedback.c
    query = select(table.label).where(table.head_uid == uid, table.state == FeedbackState.LIVE)
    return set(connection.scalars(query.distinct()))


def heads_with_unscored(connection: Connection) -> list[tuple[str, str]]:
    """Returns uid and tenant of heads with live feedback that is not learned yet."""
    heads, feedback, members = schema.heads.c, schema.feedback.c, schema.members.c
    unscored = exists().where(
        feedback.head_uid == heads.uid,
        feedback.state == FeedbackState.LIVE,
        feedback.active_right.is_(None),
    )
    followed = exists().where(
        members.head_uid == heads.uid, members.version == heads.active_version
    )
    query = select(heads.uid, schema.tenants.c.name).join_from(schema.heads, schema.tenants)
    return [(uid, tenant) for uid, tenant in connection.execute(query.where(unscored, followed))]


def composition(connection: Connection, head: HeadRecord, through: int) -> dict[str, str]:
    """Returns labels by digest of what the live copy is built on, feedback up to an id included.

    What lacks the embedding that the active version takes, and cannot have it, is no part of it.
    """
    found = {member.digest: member.label for member in _members(connection, head, vectors=False)}
    for row in _live_rows(connection, head, 0):
        if row.id <= through:
            found[row.digest] = row.label
    known = known_digests(connection, head, list(found), head.active_fingerprint)
    return {digest: label for digest, label in found.items() if digest in known}


def _members(connection: Connection, head: HeadRecord, *, vectors: bool = True) -> list[Member]:
    """Returns what the active version knew and still counts, in the version's order."""
    if head.drift_feedback_id is not None:
        return []
    digests = list(members_of(connection, head.uid, head.active_version))
    labels = labels_without_live(connection, head.uid, digests)
    weights = _weights(connection, head.uid, digests)
    found = _vectors(connection, head, digests) if vectors else {}
    nothing = np.empty(0, dtype=np.float32)
    return [
        Member(
            digest,
            found.get(digest, nothing),
            label,
            weights[digest][0],
            anchor,
            *weights[digest][1:],
        )
        for digest in digests
        if digest in weights
        and (digest in found or not vectors)
        and (label := labels[digest][0]) is not None
        for anchor in (labels[digest][1],)
    ]


def _weights(
    connection: Connection, uid: str, digests: Sequence[str]
) -> dict[str, tuple[float, str | None, bool]]:
    """Returns weight, group, and whether it is a description, of those that are not held out."""
    table = schema.examples.c
    query = select(table.digest, table.weight, table.group, table.source).where(
        table.head_uid == uid, ~table.held_out
    )
    rows = select_among(connection, query, table.digest, digests)
    return {
        digest: (weight, group, source == DESCRIPTION) for digest, weight, group, source in rows
    }


def _live_rows(connection: Connection, head: HeadRecord, after: int) -> Sequence[Any]:
    feedback, examples = schema.feedback.c, schema.examples.c
    first = max(after, (head.drift_feedback_id or 0) - 1)
    return connection.execute(
        select(
            feedback.id,
            feedback.digest,
            feedback.label,
            feedback.active_right,
            feedback.live_right,
            examples.weight,
            examples.group,
        )
        .select_from(schema.feedback)
        .join(
            schema.examples,
            and_(
                examples.head_uid == feedback.head_uid,
                examples.digest == feedback.digest,
                examples.label == feedback.label,
            ),
        )
        .where(
            feedback.head_uid == head.uid,
            feedback.state == FeedbackState.LIVE,
            feedback.id > first,
            ~examples.held_out,
        )
        .order_by(feedback.id)
    ).all()


def _vectors(
    connection: Connection, head: HeadRecord, digests: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    return find_embeddings(connection, head.tenant, head.active_fingerprint, digests)
