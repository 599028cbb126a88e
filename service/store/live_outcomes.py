"""Scoring, dropping and promoting live copies, each in one transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from service.errors import Aborted
from service.store import schema
from service.store.changes import changed_in
from service.store.feedback_states import FeedbackState, quarantine
from service.store.head_records import HeadRecord
from service.store.heads import require_head
from service.store.jobs import NewVersion
from service.store.live_set import composition
from service.store.version_bounds import remove_oldest
from service.store.versions import VersionRecord, add_version, get_version


class MadeVersion(NamedTuple):
    """The number of a version that was made, and of those that had to go for it."""

    version: int
    removed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """Whether the active version and the live copy were right about feedback before it was learned.

    `live_right` is None where there was no live copy that could have been.
    """

    id: int
    active_right: bool
    live_right: bool | None


def store_scores(
    connection: Connection,
    uid: str,
    version: int,
    scores: Sequence[Score],
    changed_at: int | None,
) -> bool:
    """Records that feedback was learned; returns False, and changes nothing, if that was in vain.

    It was where another version is active, or another server has scored the feedback otherwise:
    what is stored is right, and the copy is to be made anew of it.

    Args:
        changed_at: where the stream changed: from now on the live copy is built on feedback
            with this id and later. It was not that copy whose predictions were scored, so these
            scores are deleted.
    """
    if require_head(connection, uid).active_version != version:
        return False
    table = schema.feedback
    scored = _scored_among(connection, uid, [score.id for score in scores])
    if any(scored.get(score.id, score) != score for score in scores):
        return False
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
        changed_in(connection).live.add(uid)
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


def _scored_among(connection: Connection, uid: str, ids: Sequence[int]) -> dict[int, Score]:
    """Returns the scores of those of a head's live feedback that has some, by its id."""
    if not ids:
        return {}
    table = schema.feedback.c
    rows = connection.execute(
        select(table.id, table.active_right, table.live_right).where(
            table.head_uid == uid,
            table.state == FeedbackState.LIVE,
            table.id.between(min(ids), max(ids)),
            table.active_right.is_not(None),
        )
    )
    return {row.id: Score(*row) for row in rows}


def drop_live(connection: Connection, uid: str, version: int, *, through: int) -> int:
    """Puts all live feedback in quarantine; returns how much.

    Args:
        through: id of the last feedback that the copy has learned.

    Raises:
        Aborted: another version has become active, or none of what the copy has learned is live
            any more: another server has dropped it.
    """
    head = require_head(connection, uid)
    _check_active(head, version)
    table = schema.feedback.c
    query = select(table.id).where(table.head_uid == uid, table.state == FeedbackState.LIVE)
    ids = list(connection.scalars(query))
    if min(ids, default=through + 1) > through:
        raise Aborted("live copy: it was dropped meanwhile", retry_after=1.0)
    quarantine(connection, uid, ids)
    connection.execute(
        update(schema.heads)
        .where(schema.heads.c.uid == uid)
        .values(drift_feedback_id=None, drift_at=None)
    )
    changed_in(connection).live.add(uid)
    return len(ids)


def base_of_live(connection: Connection, uid: str, version: int) -> VersionRecord:
    """Returns the version that a live copy moved on from.

    Raises:
        Aborted: another version has become active.
    """
    _check_active(require_head(connection, uid), version)
    return get_version(connection, uid, version)


def promote_live(
    connection: Connection,
    uid: str,
    version: int,
    *,
    through: int,
    new: NewVersion,
    max_versions: int | None = None,
) -> MadeVersion:
    """Makes a version of a live copy and activates it; its feedback is learned.

    Feedback that came later stays live. Feedback before a change in the stream, on which
    the copy is not built, goes into quarantine.

    Args:
        version: the version that the copy moved on from.
        through: id of the last feedback that it has learned.
        new: the version, whose members are what the copy is built on.
        max_versions: how many the head may have, as in `remove_oldest`.

    Raises:
        Aborted: what it should be built on has changed meanwhile.
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
    made = add_version(
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
        tail=head.tail,
    )
    return MadeVersion(made, remove_oldest(connection, uid, made, max_versions))


def _check_active(head: HeadRecord, version: int) -> None:
    if head.active_version != version:
        raise Aborted(
            f"live copy: version {head.active_version} has taken over from {version}",
            retry_after=1.0,
        )
