"""A server's right to answer from memory, as it counts it itself."""

from __future__ import annotations

import time

from service.store.servers import LEASE_SECONDS

MARGIN_SECONDS = 2.0
"""What a server stops before the others count its lease as ended: clocks differ in their pace."""


def now() -> float:
    """Seconds on a clock that is never set, and goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """A lease, counted from before it was asked for; there is none at first."""

    def __init__(self) -> None:
        self._ends = 0.0

    @property
    def valid(self) -> bool:
        """Whether what memory holds may be told."""
        return now() < self._ends

    @property
    def seconds(self) -> float:
        """What is left of it."""
        return max(0.0, self._ends - now())

    def renew(self, asked: float) -> None:
        """Counts it from when it was asked for."""
        self._ends = asked + LEASE_SECONDS - MARGIN_SECONDS

    def end(self) -> None:
        """Ends it at once."""
        self._ends = 0.0
