"""A queue in which no tenant can push the others back.

Fairness is start-time fair queueing (Goyal, Vin and Cheng, 1996): a row's start tag is the later
of the queue's virtual time and its tenant's last finish tag; its finish tag lies its cost after
that; rows leave by start tag. A tenant that floods only pushes its own tags into the future.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.concurrency.demand import Demand

T = TypeVar("T")
R = TypeVar("R")


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
    turn: int = 0


@dataclass(slots=True)
class _TenantQueue(Generic[T, R]):
    rows: deque[Row[T, R]] = field(default_factory=deque)
    finish_tag: float = 0.0
    last: Row[T, R] | None = None
    turn_rows: int = 0
    turn_cost: int = 0


class FairQueue(Generic[T, R]):
    """Rows of many tenants, popped in fair order. Idle tenants take no memory.

    Args:
        turn_rows, turn_cost: how many rows of one request leave in one turn, of which cost in all.
            Were each a turn of its own, all requests that wait would end at about the same time,
            and where time runs out all of them too late.
    """

    def __init__(self, turn_rows: int = 1, turn_cost: float = math.inf) -> None:
        self._turn_rows = turn_rows
        self._turn_cost = turn_cost
        self._tenants: dict[str, _TenantQueue[T, R]] = {}
        self._heads: list[tuple[float, int, str]] = []
        self._idle: list[tuple[float, str]] = []
        self._virtual_time = 0.0
        self._sequence = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, row: Row[T, R]) -> None:
        """Queues a row behind its tenant's others."""
        queue = self._tenants.setdefault(row.tenant, _TenantQueue())
        last = queue.last
        if last is not None and self._shares_turn(queue, last, row):
            row.start_tag, row.turn = last.start_tag, last.turn
        else:
            row.start_tag = max(self._virtual_time, queue.finish_tag)
            self._sequence += 1
            row.turn = self._sequence
            queue.finish_tag = row.start_tag
            queue.turn_rows = queue.turn_cost = 0
        queue.finish_tag += row.cost
        queue.turn_rows += 1
        queue.turn_cost += row.cost
        queue.last = row
        queue.rows.append(row)
        self._length += 1
        if len(queue.rows) == 1:
            self._schedule(row)

    def pop(self) -> Row[T, R] | None:
        """Takes the row whose turn it is, or None if the queue is empty."""
        if not self._heads:
            return None
        start_tag, _, tenant = heapq.heappop(self._heads)
        queue = self._tenants[tenant]
        row = queue.rows.popleft()
        self._length -= 1
        self._virtual_time = max(self._virtual_time, start_tag)
        if queue.rows:
            self._schedule(queue.rows[0])
        elif not self._heads:
            # The busy period is over: what a tenant used in it no longer counts against it.
            self._tenants.clear()
            self._idle.clear()
            self._virtual_time = 0.0
        else:
            heapq.heappush(self._idle, (queue.finish_tag, tenant))
        self._forget_idle()
        return row

    def peek(self) -> Row[T, R] | None:
        """Returns the row that `pop` would take."""
        return self._tenants[self._heads[0][2]].rows[0] if self._heads else None

    def _forget_idle(self) -> None:
        """Drops tenants without rows whose finish tag has passed: it would not count any more."""
        while self._idle and self._idle[0][0] <= self._virtual_time:
            _, tenant = heapq.heappop(self._idle)
            queue = self._tenants.get(tenant)
            if queue and not queue.rows and queue.finish_tag <= self._virtual_time:
                del self._tenants[tenant]

    def _shares_turn(self, queue: _TenantQueue[T, R], last: Row[T, R], row: Row[T, R]) -> bool:
        return (
            row.request is not None
            and row.request is last.request
            and queue.turn_rows < self._turn_rows
            and queue.turn_cost + row.cost <= self._turn_cost
        )

    def _schedule(self, row: Row[T, R]) -> None:
        heapq.heappush(self._heads, (row.start_tag, row.turn, row.tenant))
