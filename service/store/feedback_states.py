"""States of feedback: it is live, learned, in quarantine, or superseded.

Feedback is live until something is decided about the live copy that it stands behind. The label
of an example follows: it is what live feedback says of it, else what the last learned feedback
said, else what its own upload said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, and_, select, update

from service.store import schema
from service.store.example_rules import DESCRIPTION
from service.store.sql import execute_among, select_among


class FeedbackState(StrEnum):
    """The state of feedback.

    LIVE is behind the live copy, LEARNED part of a version or released for the next one,
    QUARANTINED behind a live copy that was dropped, and SUPERSEDED by a label that came later.
    """

    LIVE = "live"
    LEARNED = "learned"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"


def update_feedback(
    connection: Connection,
    uid: str,
    version: int,
    members: Mapping[str, str],
    unknown: FeedbackState,
) -> None:
    """Updates the states of a head's feedback when a version takes over.

    Args:
        members: what the version knows, labels by digest: such live feedback is learned.
        unknown: what other live feedback becomes. LIVE: it is scored anew. QUARANTINED: it is
            put in quarantine, and so is what was learned, that the version does not know and
            nobody vouches for; what the version knows of the quarantine is learned again.
    """
    going_back = unknown is FeedbackState.QUARANTINED
    live = _in_state(connection, uid, FeedbackState.LIVE)
    before = _in_state(connection, uid, FeedbackState.QUARANTINED) if going_back else []
    known = [row for row in (*live, *before) if members.get(row.digest) == row.label]
    digests = [row.digest for row in known]
    _supersede_learned(connection, uid, digests)
    set_values(connection, [row.id for row in known], state=FeedbackState.LEARNED)
    others = [row.id for row in live if members.get(row.digest) != row.label]
    if not going_back:
        set_values(connection, others, active_version=version, active_right=None, live_right=None)
        return
    _restore_labels(connection, uid, digests)
    others += [
        row.id
        for row in _in_state(connection, uid, FeedbackState.LEARNED)
        if row.label not in (members.get(row.digest), row.own_label)
    ]
    quarantine(connection, uid, others)


def quarantine(connection: Connection, uid: str, ids: Sequence[int]) -> None:
    """Puts feedback in quarantine; its examples get the labels back that they had before."""
    table = schema.feedback.c
    rows = select_among(connection, select(table.digest), table.id, ids)
    digests = [row.digest for row in rows]
    set_values(connection, ids, state=FeedbackState.QUARANTINED)
    _restore_labels(connection, uid, digests)


def _in_state(connection: Connection, uid: str, state: FeedbackState) -> Sequence[Any]:
    """Returns feedback in a state, with its example's own label, oldest first."""
    feedback, examples = schema.feedback.c, schema.examples.c
    return connection.execute(
        select(feedback.id, feedback.digest, feedback.label, examples.own_label)
        .select_from(schema.feedback)
        .join(
            schema.examples,
            and_(examples.head_uid == feedback.head_uid, examples.digest == feedback.digest),
        )
        .where(feedback.head_uid == uid, feedback.state == state)
        .order_by(feedback.id)
    ).all()


def _restore_labels(connection: Connection, uid: str, digests: Sequence[str]) -> None:
    """Resets examples to the labels that they have without live feedback."""
    for digest, (label, own) in labels_without_live(connection, uid, digests).items():
        connection.execute(
            update(schema.examples)
            .filter_by(head_uid=uid, digest=digest)
            .values(label=label, source="upload" if own else "feedback")
        )


def release(connection: Connection, uid: str, ids: Sequence[int]) -> None:
    """Lets quarantined feedback count again: somebody vouches for it as for an upload."""
    table = schema.feedback.c
    for digest, label in list(
        select_among(connection, select(table.digest, table.label), table.id, ids)
    ):
        connection.execute(
            update(schema.examples)
            .filter_by(head_uid=uid, digest=digest)
            .values(label=label, own_label=label, reviewer=None)
        )
    set_values(connection, ids, state=FeedbackState.LEARNED)


def labels_without_live(
    connection: Connection, uid: str, digests: Sequence[str]
) -> dict[str, tuple[str | None, bool]]:
    """Returns each example's label without live feedback, and whether that is its own label.

    A description's is its label's, which nobody vouches for.
    """
    found: dict[str, tuple[str | None, bool]] = {}
    examples, feedback = schema.examples.c, schema.feedback.c
    learned = (
        select(feedback.digest, feedback.label)
        .where(feedback.head_uid == uid, feedback.state == FeedbackState.LEARNED)
        .order_by(feedback.id)
    )
    rows = select_among(connection, learned, feedback.digest, digests)
    last = {digest: label for digest, label in rows}
    own = select(examples.digest, examples.own_label, examples.source).where(
        examples.head_uid == uid
    )
    for digest, label, source in select_among(connection, own, examples.digest, digests):
        counts = last.get(digest, label)
        vouched = label is not None and label == counts and source != DESCRIPTION
        found[digest] = (counts, vouched)
    return found


def _supersede_learned(connection: Connection, uid: str, digests: Sequence[str]) -> None:
    """Supersedes learned feedback on these inputs: one learned label each is kept."""
    table = schema.feedback
    statement = (
        update(table)
        .where(table.c.head_uid == uid, table.c.state == FeedbackState.LEARNED)
        .values(state=FeedbackState.SUPERSEDED)
    )
    execute_among(connection, statement, table.c.digest, digests)


def set_values(connection: Connection, ids: Sequence[int], **values: object) -> None:
    """Changes columns of feedback."""
    statement = update(schema.feedback).values(**values)
    execute_among(connection, statement, schema.feedback.c.id, ids)
