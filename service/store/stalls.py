"""Whether the store's threads wait for a disk that stalls.

Nobody can interrupt a thread that waits for a disk, and none of its work may be given to another
one. So the store has few threads, notices when they stand still, and takes no new work until they
go on: what waits is bounded by what came in before.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from service.errors import Unavailable

STALL_SECONDS = 10.0
"""Time without a step after which work stalls. On a sound disk SQLite makes many steps a second,
also in long work."""
RETRY_AFTER = 5.0
STEPS = 200_000
"""Instructions of SQLite's machine between two signs; a sign may wait for the interpreter lock."""


class StallWatch:
    """Watches one kind of work in threads, by steps: it begins, ends, and moves on in between.

    Work that has begun and makes no step for `STALL_SECONDS` stalls, until the next step. A timer
    runs only while there is work.

    Args:
        on_change: is called on the event loop when it begins to stall, and when it goes on.
        refusal: makes the error of work that is not admitted; by default the disk's.
        seconds: time without a step; by default `STALL_SECONDS`.
    """

    def __init__(
        self,
        on_change: Callable[[], None],
        refusal: Callable[[], Unavailable] | None = None,
        seconds: float | None = None,
    ) -> None:
        self.stalled = False
        self._on_change = on_change
        self._refusal = refusal or _disk_stalls
        self._seconds = seconds
        self._lock = threading.Lock()
        self._working = 0
        self._last_step = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def _patience(self) -> float:
        return STALL_SECONDS if self._seconds is None else self._seconds

    def admit(self) -> None:
        """Lets work be handed to the threads; call it on the event loop.

        Raises:
            Unavailable: what was handed to them before stalls.
        """
        if self.stalled:
            raise self._refusal()
        if self._timer is None:
            self._loop = asyncio.get_running_loop()
            self._timer = self._loop.call_later(self._patience, self._check)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Watches the block, in whatever thread."""
        with self._lock:
            self._working += 1
        self.step()
        try:
            yield
        finally:
            with self._lock:
                self._working -= 1
            self.step()

    def follow(self, engine: Engine) -> None:
        """Takes each stretch of SQLite's work on this engine for a step."""

        @event.listens_for(engine, "connect")
        def _connected(connection: Any, _record: Any) -> None:
            connection.set_progress_handler(self.step, STEPS)

    def step(self) -> None:
        """Says that work moves on; any thread may."""
        self._last_step = time.monotonic()
        if self.stalled and self._loop is not None:
            self._loop.call_soon_threadsafe(self._check)

    def _check(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        left = self._last_step + self._patience - time.monotonic()
        stalled = self._working > 0 and left <= 0
        if self._working and not stalled:
            self._timer = asyncio.get_running_loop().call_later(left, self._check)
        if stalled != self.stalled:
            self.stalled = stalled
            self._on_change()


def _disk_stalls() -> Unavailable:
    return Unavailable(
        "the store does not answer, as its disk stalls; try again later",
        field="data_dir",
        retry_after=RETRY_AFTER,
    )
