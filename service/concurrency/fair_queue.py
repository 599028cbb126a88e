"""A queue in which no tenant can push the others back.

Fairness is start-time fair queueing (Goyal, Vin and Cheng, 1996): a row's start tag is the later
of the queue's virtual time and its tenant's last finish tag; its finish tag lies its cost after
that; rows leave by start tag. A tenant that floods only pushes its own tags into the future.

Rows of a higher rank have a lane and tags of their own, so they wait for none of their tenant's
others. Whoever says which rows those are must give no tenant too many.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from service.concurrency.demand import Demand

T = TypeVar("T")
R = TypeVar("R")


class Rank(IntEnum):
    """Whether a row waits for its tenant's others, and for the end of the turn under way."""

    IN_TURN = 0
    FIRST = 1
    """The row does not wait for its tenant's others."""
    AT_ONCE = 2
    """It does not wait for the end of the turn either."""


@dataclass(slots=True)
class Row(Generic[T, R]):
    """One queued item; times are of the event loop's clock.

    Attributes:
        work: what it counts for where it is told how much is ahead.
        request: what it belongs to; rows of one request that follow one another share turns.
    """

    tenant: str
    item: T
    cost: int
    demand: Demand | None
    future: asyncio.Future[R]
    enqueued: float
    start_tag: float = 0.0
    work: int = 1
    request: object = None
    rank: Rank = Rank.IN_TURN
    turn: int = 0


@dataclass(slots=True)
class _Lane(Generic[T, R]):
    """Rows of one tenant and rank."""

    rows: deque[Row[T, R]] = field(default_factory=deque)
    finish_tag: float = 0.0
    last: Row[T, R] | None = None
    turn_rows: int = 0
    turn_cost: int = 0


class FairQueue(Generic[T, R]):
    """Rows of many tenants, popped in fair order. Idle tenants take no memory.

    Args:
        turn_rows, turn_cost: how many rows of one request leave in one turn, and their total cost.
            Were each a turn of its own, all requests that wait would end at about the same time,
            and where time runs out all of them too late.
    """

    def __init__(self, turn_rows: int = 1, turn_cost: float = math.inf) -> None:
        self._turn_rows = turn_rows
        self._turn_cost = turn_cost
        self._lanes: dict[tuple[str, Rank], _Lane[T, R]] = {}
        self._heads: list[tuple[float, bool, int, tuple[str, Rank]]] = []
        self._idle: list[tuple[float, tuple[str, Rank]]] = []
        self._virtual_time = 0.0
        self._sequence = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, row: Row[T, R]) -> None:
        """Queues a row behind its tenant's others."""
        lane = self._lanes.setdefault(_key(row), _Lane())
        last = lane.last
        if last is not None and self._shares_turn(lane, last, row):
            row.start_tag, row.turn = last.start_tag, last.turn
        else:
            row.start_tag = max(self._virtual_time, lane.finish_tag)
            self._sequence += 1
            row.turn = self._sequence
            lane.finish_tag = row.start_tag
            lane.turn_rows = lane.turn_cost = 0
        lane.finish_tag += row.cost
        lane.turn_rows += 1
        lane.turn_cost += row.cost
        lane.last = row
        lane.rows.append(row)
        self._length += 1
        if len(lane.rows) == 1:
            self._schedule(row)

    def pop(self) -> Row[T, R] | None:
        """Takes the row whose turn it is, or None if the queue is empty."""
        if not self._heads:
            return None
        start_tag, _, _, key = heapq.heappop(self._heads)
        lane = self._lanes[key]
        row = lane.rows.popleft()
        self._length -= 1
        self._virtual_time = max(self._virtual_time, start_tag)
        if lane.rows:
            self._schedule(lane.rows[0])
        elif not self._heads:
            # The busy period is over: what a tenant used in it no longer counts against it.
            self._lanes.clear()
            self._idle.clear()
            self._virtual_time = 0.0
        else:
            heapq.heappush(self._idle, (lane.finish_tag, key))
        self._forget_idle()
        return row

    def peek(self) -> Row[T, R] | None:
        """Returns the row that `pop` would take."""
        return self._lanes[self._heads[0][3]].rows[0] if self._heads else None

    def ahead(self, tenant: str, request: object, rank: Rank) -> tuple[int, int]:
        """Returns rows, and what they count for, that would leave before one that comes now.

        Those that nobody waits for are left out. A turn that it would share is taken for one that
        is not full.

        Args:
            tenant, request, rank: of that one.
        """
        mine = self._lanes.get((tenant, rank))
        tag = self._virtual_time
        if mine is not None and mine.last is not None:
            shares = request is not None and request is mine.last.request
            tag = max(tag, mine.last.start_tag if shares else mine.finish_tag)
        rows = work = 0
        for lane in self._lanes.values():
            for row in lane.rows:
                overtaken = row.rank < rank is Rank.AT_ONCE
                if row.start_tag > tag or (overtaken and row.start_tag == tag):
                    break
                if not row.future.done():
                    rows += 1
                    work += row.work
        return rows, work

    def _forget_idle(self) -> None:
        """Drops tenants without rows whose finish tag has passed: it would not count any more."""
        while self._idle and self._idle[0][0] <= self._virtual_time:
            _, key = heapq.heappop(self._idle)
            lane = self._lanes.get(key)
            if lane and not lane.rows and lane.finish_tag <= self._virtual_time:
                del self._lanes[key]

    def _shares_turn(self, lane: _Lane[T, R], last: Row[T, R], row: Row[T, R]) -> bool:
        return (
            row.request is not None
            and row.request is last.request
            and lane.turn_rows < self._turn_rows
            and lane.turn_cost + row.cost <= self._turn_cost
        )

    def _schedule(self, row: Row[T, R]) -> None:
        heapq.heappush(
            self._heads, (row.start_tag, row.rank is not Rank.AT_ONCE, row.turn, _key(row))
        )


def _key(row: Row[T, R]) -> tuple[str, Rank]:
    return row.tenant, row.rank
