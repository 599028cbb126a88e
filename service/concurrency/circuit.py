"""A circuit: what does not answer is left alone for a while, then one tries again."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class Circuit:
    """Says who may ask something that may be away; nothing waits, and nothing runs meanwhile.

    After a failure nobody may for a while, then one; if that fails as well the pause is twice as
    long. Any success ends it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._pause = 0.0
        self._until = 0.0

    @property
    def closed(self) -> bool:
        """Whether the last answer was a good one."""
        return not self._pause

    @property
    def blocked(self) -> bool:
        """Whether nobody may ask now."""
        return bool(self._pause) and self._clock() < self._until

    def enter(self) -> int | None:
        """Returns what to leave with, or None if it may not be asked now."""
        if self.blocked:
            return None
        if self._pause:
            self._until = self._clock() + self._pause  # the others wait for how this one ends
        return self._failures

    def succeed(self) -> bool:
        """Takes in a good answer; returns whether there was none for a while."""
        recovered, self._pause = bool(self._pause), 0.0
        return recovered

    def fail(self, entered: int) -> bool:
        """Takes in that there was none; returns whether it is the first after a good one.

        Of all that were under way together one counts.
        """
        if entered != self._failures:
            return False
        self._failures += 1
        first = not self._pause
        self._pause = min(2 * self._pause or FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self._until = self._clock() + self._pause
        return first
