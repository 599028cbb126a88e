"""What became of the answers that were drawn at random, counted."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from service.store import schema
from service.store.captures import CaptureState
from service.store.sql import whole_part


@dataclass(frozen=True, slots=True)
class ServedCount:
    """Answers that have all of this in common.

    Attributes:
        period: when they were served, in periods since 1970.
        label: what somebody said the input is, if that is a label.
        chance: with which each was drawn.
    """

    period: int
    predicted: str
    state: CaptureState
    label: str | None
    chance: float
    count: int


def count_served(
    connection: Connection,
    uid: str,
    *,
    start: float,
    end: float,
    version: int,
    period: int,
) -> list[ServedCount]:
    """Counts a head's answers that were drawn at random, the earliest period first.

    Args:
        start: seconds since 1970, of the first that counts.
        end: likewise, of the first that does not.
        version: that answered, its live copies included; 0 for any.
        period: in seconds.
    """
    table = schema.captures.c
    kind = (
        whole_part(table.created_at / period).label("period"),
        table.predicted,
        table.state,
        table.judged_label,
        table.chance,
    )
    query = (
        select(*kind, func.count())
        .where(
            table.head_uid == uid,
            table.sampled_at_random,
            table.created_at >= start,
            table.created_at < end,
        )
        .group_by(*kind)
        .order_by(kind[0])
    )
    if version:
        query = query.where(table.version == version)
    return [
        ServedCount(period, predicted, CaptureState(state), label, chance, count)
        for period, predicted, state, label, chance, count in connection.execute(query)
    ]
