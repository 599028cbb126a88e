"""How fast batches run: the estimate on which rows are admitted and dropped."""

from __future__ import annotations

import math

MEMORY_SECONDS = 1.0
"""Busy time after which a batch counts for 1/e of what it did."""
FORGET_SECONDS = 5.0
"""Time without a batch that counts after which nothing is known any more."""
OUTLIER = 4.0
"""A batch counts for at most so many times as long as was expected of it: one stall is no pace."""
LEAST_SECONDS = 1e-4
"""No batch takes less: by a clock of milliseconds, such as uvloop's, it may take nothing."""


class Pace:
    """Seconds for each row, and for each unit of cost, over the recent batches that were full.

    What some rows take is the smaller of what their number and what their cost says. If a row
    takes a seconds and a unit of cost b, whatever a and b are, then the truth lies between the two
    (it is their mean, weighted by what rows and cost take in the batches seen). So rows that are
    larger or smaller than those before are never thought slower than they are.

    A batch that was not full says what more rows could not take longer than, each: it counts only
    where it was faster than expected.
    """

    def __init__(self) -> None:
        self._seconds = self._rows = self._cost = self._batches = 0.0
        self._last = -math.inf

    def record(self, rows: int, cost: int, seconds: float, now: float, *, full: bool) -> None:
        """Takes in a batch that ends now."""
        seconds = max(seconds, LEAST_SECONDS)
        expected = self.seconds(rows, cost, now - seconds)  # its own time makes nothing older
        if expected is None:
            self._seconds = self._rows = self._cost = self._batches = 0.0
        if not full and (expected is None or seconds >= expected):
            return
        counted = seconds if expected is None else min(seconds, OUTLIER * expected)
        keep = math.exp(-counted / MEMORY_SECONDS)
        self._seconds = keep * self._seconds + counted
        self._rows = keep * self._rows + rows
        self._cost = keep * self._cost + cost
        self._batches = keep * self._batches + 1
        weight = min(1.0, MEMORY_SECONDS / self._seconds)  # a long first batch is soon outweighed
        self._seconds *= weight
        self._rows *= weight
        self._cost *= weight
        self._batches *= weight
        self._last = now

    def seconds(self, rows: float, cost: float, now: float) -> float | None:
        """Returns what these rows take, of such cost in all; None while nothing is known."""
        if now - self._last > FORGET_SECONDS or not self._rows:
            return None
        return self._seconds * min(rows / self._rows, cost / self._cost)

    def age(self, now: float) -> float:
        """Returns the seconds since a batch that counted."""
        return now - self._last

    def batch_seconds(self, now: float) -> float:
        """Returns what a batch takes; 0 while nothing is known."""
        if now - self._last > FORGET_SECONDS or not self._batches:
            return 0.0
        return self._seconds / self._batches
