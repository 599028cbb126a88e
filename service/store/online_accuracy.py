"""Accuracy of a head on feedback."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Integer, and_, cast, func, select

from service.store import schema

MAX_ONLINE_POINTS = 50


@dataclass(frozen=True, slots=True)
class OnlinePoint:
    """Accuracy in a stretch of feedback, each scored before it was learned.

    Attributes:
        feedback: scored feedback up to the stretch's end.
        scored: how much of it is in the stretch.
        active_accuracy: share of it on which the active version was right.
        live_accuracy: likewise the live copy.
        time: of its last feedback, seconds since the epoch.
    """

    feedback: int
    scored: int
    active_accuracy: float
    live_accuracy: float
    time: float


def online_accuracy(connection: Connection, uid: str) -> list[OnlinePoint]:
    """Returns how often the active version and the live copy were right, oldest first.

    All feedback of the head that both were scored on, in at most 50 stretches of equal length.
    """
    table = schema.feedback.c
    both = and_(
        table.head_uid == uid, table.active_right.is_not(None), table.live_right.is_not(None)
    )
    total = connection.scalar(select(func.count()).select_from(schema.feedback).where(both)) or 0
    size = max(1, -(-total // MAX_ONLINE_POINTS))
    scored = (
        select(
            ((func.row_number().over(order_by=table.id) - 1) // size).label("stretch"),
            cast(table.active_right, Integer).label("active_right"),
            cast(table.live_right, Integer).label("live_right"),
            table.created_at,
        )
        .where(both)
        .subquery()
    )
    rows = connection.execute(
        select(
            func.count(),
            func.sum(scored.c.active_right),
            func.sum(scored.c.live_right),
            func.max(scored.c.created_at),
        )
        .group_by(scored.c.stretch)
        .order_by(scored.c.stretch)
    )
    return [
        OnlinePoint(i * size + count, count, active / count, live / count, last)
        for i, (count, active, live, last) in enumerate(rows)
    ]
