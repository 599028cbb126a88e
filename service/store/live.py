"""What a live copy stands on, and what becomes of it, each in one transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, exists, select, update

from service.errors import Aborted
from service.store import schema
from service.store.embeddings import chunks, find_embeddings
from service.store.feedback_states import FeedbackState, labels_without_live, quarantine
from service.store.heads import HeadRecord, add_version, get_weights, require_head
from service.store.jobs import NewVersion
from service.store.members import members_of


@dataclass(frozen=True, slots=True)
class Member:
    """An example that the active version knew, as it counts without live feedback.

    `anchor` says whether somebody vouches for its label: it was uploaded, set or released.
    """

    digest: str
    vector: NDArray[np.float32]
    label: str
    weight: float
    anchor: bool


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

    @property
    def learned(self) -> bool:
        """Whether it was scored, and so is part of the copy."""
        return self.active_right is not None


@dataclass(frozen=True, slots=True)
class LiveSet:
    """All that a live copy is made of: the same set makes the same copy.

    `members` is empty after a change in the stream. `weights` is the active version's safetensors
    file, None where there is no live feedback or no version that a copy could move on from.
    """

    head: HeadRecord
    weights: bytes | None
    members: list[Member]
    feedback: list[LiveFeedback]


@dataclass(frozen=True, slots=True)
class Score:
    """Whether the active version and the live copy were right about feedback before it was learned.

    `live_right` is None where there was no live copy that could have been.
    """

    id: int
    active_right: bool
    live_right: bool | None


def live_set(connection: Connection, uid: str) -> LiveSet:
    """What the head's live copy is to be made of.

    Raises:
        NotFound: the head was deleted.
    """
    head = require_head(connection, uid)
    feedback = live_feedback(connection, head)
    if not (feedback and head.active_version):
        return LiveSet(head, None, [], feedback)
    weights = get_weights(connection, uid, head.active_version)
    return LiveSet(head, weights, _members(connection, head), feedback)


def live_feedback(connection: Connection, head: HeadRecord, after: int = 0) -> list[LiveFeedback]:
    """Live feedback with an id above `after`, oldest first."""
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
        )
        for row in rows
        if row.digest in vectors
    ]


def newer_feedback(
    connection: Connection, uid: str, version: int, after: int
) -> list[LiveFeedback] | None:
    """Live feedback that came after one; None if another version is active."""
    head = require_head(connection, uid)
    return live_feedback(connection, head, after) if head.active_version == version else None


def live_labels(connection: Connection, uid: str) -> set[str]:
    """Labels of a head's live feedback."""
    table = schema.feedback.c
    query = select(table.label).where(table.head_uid == uid, table.state == FeedbackState.LIVE)
    return set(connection.scalars(query.distinct()))


def heads_with_unscored(connection: Connection) -> list[tuple[str, str]]:
    """Uid and tenant of heads with live feedback that their live copies are still to learn."""
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


def store_scores(
    connection: Connection,
    uid: str,
    version: int,
    scores: Sequence[Score],
    changed_at: int | None,
) -> bool:
    """Notes that feedback was learned; False, and nothing, if another version is active.

    Args:
        changed_at: where the stream changed: the live copy stands on feedback with this id and
            later from now on. It was not that copy whose answers were scored, so these scores go.
    """
    if require_head(connection, uid).active_version != version:
        return False
    table = schema.feedback
    for score in scores:
        connection.execute(
            update(table)
            .where(
                table.c.id == score.id,
                table.c.state == FeedbackState.LIVE,
                table.c.active_right.is_(None),
            )
            .values(active_right=score.active_right, live_right=score.live_right)
        )
    if changed_at is not None:
        connection.execute(
            update(schema.heads)
            .where(schema.heads.c.uid == uid)
            .values(drift_feedback_id=changed_at, drift_at=time.time())
        )
        connection.execute(
            update(table)
            .where(
                table.c.head_uid == uid,
                table.c.state == FeedbackState.LIVE,
                table.c.id >= changed_at,
            )
            .values(live_right=None)
        )
    return True


def drop_live(connection: Connection, uid: str, version: int) -> int:
    """Puts all live feedback in quarantine; returns how much.

    Raises:
        Aborted: another version has become active.
    """
    head = require_head(connection, uid)
    _check_active(head, version)
    table = schema.feedback.c
    query = select(table.id).where(table.head_uid == uid, table.state == FeedbackState.LIVE)
    ids = list(connection.scalars(query))
    quarantine(connection, uid, ids)
    connection.execute(
        update(schema.heads)
        .where(schema.heads.c.uid == uid)
        .values(drift_feedback_id=None, drift_at=None)
    )
    return len(ids)


def promote_live(
    connection: Connection,
    uid: str,
    version: int,
    *,
    through: int,
    new: NewVersion,
) -> int:
    """Makes a version of a live copy and activates it; its feedback is learned.

    Feedback that came later stays live. What came before a change in the stream, which the copy
    does not stand on, goes into quarantine.

    Args:
        version: that the copy moved on from.
        through: id of the last feedback that it has learned.
        new: the version, whose members are what the copy stands on.

    Raises:
        Aborted: what it should stand on has changed meanwhile.
    """
    head = require_head(connection, uid)
    _check_active(head, version)
    if composition(connection, head, through) != dict(new.members):
        raise Aborted("live copy: its examples have changed meanwhile", retry_after=1.0)
    if head.drift_feedback_id is not None:
        table = schema.feedback.c
        before = select(table.id).where(
            table.head_uid == uid,
            table.state == FeedbackState.LIVE,
            table.id < head.drift_feedback_id,
        )
        quarantine(connection, uid, list(connection.scalars(before)))
    return add_version(
        connection,
        uid,
        source="feedback",
        labels=new.labels,
        report=new.report,
        example_count=len(new.members),
        safetensors=new.safetensors,
        activate=True,
        members=new.members,
        base=version,
    )


def composition(connection: Connection, head: HeadRecord, through: int) -> dict[str, str]:
    """Labels by digest of what the live copy stands on, feedback up to an id included."""
    found = {member.digest: member.label for member in _members(connection, head, vectors=False)}
    for row in _live_rows(connection, head, 0):
        if row.id <= through:
            found[row.digest] = row.label
    return found


def _members(connection: Connection, head: HeadRecord, *, vectors: bool = True) -> list[Member]:
    """What the active version knew and still counts, in the version's order."""
    if head.drift_feedback_id is not None:
        return []
    digests = list(members_of(connection, head.uid, head.active_version))
    labels = labels_without_live(connection, head.uid, digests)
    weights = _weights(connection, head.uid, digests)
    found = _vectors(connection, head, digests) if vectors else {}
    nothing = np.empty(0, dtype=np.float32)
    return [
        Member(digest, found.get(digest, nothing), label, weights[digest], anchor)
        for digest in digests
        if digest in weights
        and (digest in found or not vectors)
        and (label := labels[digest][0]) is not None
        for anchor in (labels[digest][1],)
    ]


def _weights(connection: Connection, uid: str, digests: Sequence[str]) -> dict[str, float]:
    """Weights by digest of those that are not held out."""
    table = schema.examples.c
    found: dict[str, float] = {}
    for chunk in chunks(digests):
        rows = connection.execute(
            select(table.digest, table.weight).where(
                table.head_uid == uid, table.digest.in_(chunk), ~table.held_out
            )
        )
        found.update({digest: weight for digest, weight in rows})
    return found


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
    return find_embeddings(connection, head.tenant, head.fingerprint, digests)


def _check_active(head: HeadRecord, version: int) -> None:
    if head.active_version != version:
        raise Aborted(
            f"live copy: version {head.active_version} has taken over from {version}",
            retry_after=1.0,
        )
