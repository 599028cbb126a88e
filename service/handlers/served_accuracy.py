"""The RPC ``GetServedAccuracy``: how often the answers were right that were served."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from adapters.served_accuracy import Served, accuracy, by_class
from service.errors import InvalidRequest
from service.replies.heads import timestamp
from service.replies.reviews import accuracy_message, class_messages
from service.requests.call import Call
from service.requests.fields import check_time
from service.store import Database, served_answers
from service.store import heads as stored_heads
from service.store.captures import CaptureState
from service.store.judgements import LABELLED
from service.store.served_answers import ServedCount
from trunkline.resources import HeadName
from trunkline.v1 import reviews_pb2

LEAST_PERIOD, DAY = 3600, 86_400
"""Seconds: the shortest period, and that which is meant where none is named."""

MAX_PERIODS = 1000


@dataclass(eq=False)
class ServedAccuracy:
    """Estimates the accuracy of what was served from what was drawn at random and judged."""

    _database: Database

    async def get_served_accuracy(
        self, request: reviews_pb2.GetServedAccuracyRequest, call: Call
    ) -> reviews_pb2.GetServedAccuracyResponse:
        """Returns the accuracy as a whole, by class and over time."""
        period = request.period_seconds or DAY
        if period < LEAST_PERIOD:
            raise InvalidRequest.at(
                "period_seconds", "at least {limit}, is {value}", LEAST_PERIOD, period
            )
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        counts = await self._database.read(
            served_answers.count_served,
            head.uid,
            start=_time(request, "start_time", 0),
            end=_time(request, "end_time", math.inf),
            version=request.version,
            period=period,
        )
        return await asyncio.to_thread(_response, counts, period)


def _time(
    request: reviews_pb2.GetServedAccuracyRequest,
    field: Literal["start_time", "end_time"],
    otherwise: float,
) -> float:
    """Returns a time of the request in seconds since 1970."""
    if not request.HasField(field):
        return otherwise
    said = getattr(request, field)
    return check_time(field, said.seconds + said.nanos / 1e9)


def _response(counts: Sequence[ServedCount], period: int) -> reviews_pb2.GetServedAccuracyResponse:
    periods = [
        reviews_pb2.ServedPeriod(
            start_time=timestamp(number * period), accuracy=accuracy_message(accuracy(_rows(rows)))
        )
        for number, rows in groupby(counts, key=lambda row: row.period)
    ]
    served = _rows(counts)
    return reviews_pb2.GetServedAccuracyResponse(
        accuracy=accuracy_message(accuracy(served)),
        classes=class_messages(by_class(served)),
        periods=periods[-MAX_PERIODS:],
        periods_left_out=max(0, len(periods) - MAX_PERIODS),
        waiting=_count(counts, CaptureState.WAITING),
        skipped=_count(counts, CaptureState.SKIPPED),
        expired=_count(counts, CaptureState.EXPIRED),
        junk=_count(counts, CaptureState.JUNK),
    )


def _rows(counts: Iterable[ServedCount]) -> list[Served]:
    """Returns answers as they are weighed: junk is left out, and nothing else."""
    return [
        Served(
            predicted=row.predicted,
            judged=row.state in (*LABELLED, CaptureState.NONE_OF_THESE),
            label=row.label if row.state in LABELLED else None,
            count=row.count,
            chance=row.chance,
        )
        for row in counts
        if row.state is not CaptureState.JUNK
    ]


def _count(counts: Iterable[ServedCount], state: CaptureState) -> int:
    return sum(row.count for row in counts if row.state is state)
