"""Who waits for a row, and until when: that may change while the row is queued."""

from __future__ import annotations

import asyncio
import math
from typing import Any


class Waiter:
    """One request; it waits for all of its rows, or for none of them.

    Args:
        deadline: on the event loop's clock; None for none.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = math.inf if deadline is None else deadline
        self._demands: list[Demand] = []

    def wait_for(self, demand: Demand) -> None:
        """Waits for one row more."""
        self._demands.append(demand)
        demand.waiters.add(self)

    def leave(self, error: Exception) -> None:
        """Stops waiting; rows that nobody else waits for fail with this error, wherever they are.

        A row that is in a pass is computed to its end, for nobody.
        """
        demands, self._demands = self._demands, []
        for demand in demands:
            demand.waiters.discard(self)
            if not demand.waiters:
                demand.end(error)


class Demand:
    """The demand for one row.

    Attributes:
        waiters: who waits for it.
        request: identifies the request that it was made for when that comes back.
        error: why nobody does any more; None while it is wanted.
    """

    __slots__ = ("_future", "error", "request", "waiters")

    def __init__(self, *waiters: Waiter, request: str = "") -> None:
        self.waiters: set[Waiter] = set()
        self.request = request
        self.error: Exception | None = None
        self._future: asyncio.Future[Any] | None = None
        for waiter in waiters:
            waiter.wait_for(self)

    @property
    def deadline(self) -> float:
        """The latest of those who wait, of the event loop's clock; infinity where one has none.

        Any thread may ask.
        """
        waiters = tuple(self.waiters)  # in one step: the loop's thread may change the set
        return max((waiter.deadline for waiter in waiters), default=-math.inf)

    def queued(self, future: asyncio.Future[Any]) -> None:
        """Names what fails when nobody waits any more."""
        self._future = future

    def drop(self, error: Exception) -> None:
        """Gives the row up: each waiter leaves it, and all else that it waits for."""
        for waiter in list(self.waiters):
            waiter.leave(error)
        self.end(error)

    def end(self, error: Exception) -> None:
        """Fails the row, which nobody waits for."""
        if self.error is None:
            self.error = error
            if self._future is not None and not self._future.done():
                self._future.set_exception(error)
