"""What becomes of feedback: it is live, learned, in quarantine, or superseded.

Feedback is live until something is decided about the live copy that it stands behind. The label
of an example follows: it is what live feedback says of it, else what the last learned feedback
said, else what its own upload said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from sqlalchemy import Connection, select, update

from service.store import schema

_CHUNK = 500  # bound parameters of one IN clause


class FeedbackState(StrEnum):
    """Where feedback stands.

    LIVE is behind the live copy, LEARNED part of a version or released for the next one,
    QUARANTINED behind a live copy that was dropped, and SUPERSEDED by a label that came later.
    """

    LIVE = "live"
    LEARNED = "learned"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"


def settle(
    connection: Connection,
    uid: str,
    version: int,
    members: Mapping[str, str],
    unknown: FeedbackState,
) -> None:
    """Decides about a head's live feedback when a version takes over.

    Args:
        members: what the version knows, labels by digest: such feedback is learned.
        unknown: what other feedback becomes: QUARANTINED, or LIVE, then it is scored anew.
    """
    rows = connection.execute(
        select(schema.feedback.c.id, schema.feedback.c.digest, schema.feedback.c.label).where(
            schema.feedback.c.head_uid == uid, schema.feedback.c.state == FeedbackState.LIVE
        )
    ).all()
    learned = [row.id for row in rows if members.get(row.digest) == row.label]
    others = [row.id for row in rows if members.get(row.digest) != row.label]
    _set(connection, learned, state=FeedbackState.LEARNED)
    if unknown is FeedbackState.LIVE:
        _set(connection, others, active_version=version, active_right=None, live_right=None)
    else:
        quarantine(connection, uid, others)


def quarantine(connection: Connection, uid: str, ids: Sequence[int]) -> None:
    """Puts live feedback in quarantine; its examples get the labels back that they had before."""
    digests: list[str] = []
    for chunk in _chunks(ids):
        table = schema.feedback.c
        digests += connection.scalars(select(table.digest).where(table.id.in_(chunk))).all()
    _set(connection, ids, state=FeedbackState.QUARANTINED)
    for digest, (label, own) in labels_without_live(connection, uid, digests).items():
        connection.execute(
            update(schema.examples)
            .filter_by(head_uid=uid, digest=digest)
            .values(label=label, source="upload" if own else "feedback")
        )


def release(connection: Connection, uid: str, ids: Sequence[int]) -> None:
    """Lets quarantined feedback count again: somebody vouches for it as for an upload."""
    for chunk in _chunks(ids):
        table = schema.feedback.c
        rows = connection.execute(select(table.digest, table.label).where(table.id.in_(chunk)))
        for digest, label in rows.all():
            connection.execute(
                update(schema.examples)
                .filter_by(head_uid=uid, digest=digest)
                .values(label=label, own_label=label)
            )
    _set(connection, ids, state=FeedbackState.LEARNED)


def labels_without_live(
    connection: Connection, uid: str, digests: Iterable[str]
) -> dict[str, tuple[str | None, bool]]:
    """Each example's label without live feedback, and whether its owner said so himself."""
    found: dict[str, tuple[str | None, bool]] = {}
    for chunk in _chunks(list(digests)):
        examples, feedback = schema.examples.c, schema.feedback.c
        learned = connection.execute(
            select(feedback.digest, feedback.label)
            .where(
                feedback.head_uid == uid,
                feedback.digest.in_(chunk),
                feedback.state == FeedbackState.LEARNED,
            )
            .order_by(feedback.id)
        )
        last = {digest: label for digest, label in learned}
        own = connection.execute(
            select(examples.digest, examples.own_label).where(
                examples.head_uid == uid, examples.digest.in_(chunk)
            )
        )
        for digest, label in own:
            counts = last.get(digest, label)
            found[digest] = (counts, label is not None and label == counts)
    return found


def _set(connection: Connection, ids: Sequence[int], **values: object) -> None:
    for chunk in _chunks(ids):
        connection.execute(
            update(schema.feedback).where(schema.feedback.c.id.in_(chunk)).values(**values)
        )


def _chunks(items: Sequence[object]) -> Iterable[Sequence[object]]:
    return (items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK))
