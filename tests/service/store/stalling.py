"""A disk that stalls when a test says so, and the clock by which that is noticed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from service.store import Database, stalls
from tests.service.waiting import Changes

STALL_SECONDS = 1234.5


class Clock:
    """The clock of all `StallWatch`es on this event loop; it goes when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = 0.0
        self._timers: list[tuple[asyncio.TimerHandle, Callable[[], object]]] = []
        loop = asyncio.get_running_loop()
        self._call_later = loop.call_later
        monkeypatch.setattr(stalls, "STALL_SECONDS", STALL_SECONDS)
        monkeypatch.setattr(stalls, "time", SimpleNamespace(monotonic=lambda: self._now))
        monkeypatch.setattr(loop, "call_later", self._watched)

    def jump(self) -> None:
        """Lets more time pass than work may take for a step."""
        self._now += 2 * STALL_SECONDS

    def fire(self) -> None:
        """Fires the timers that wait."""
        timers, self._timers = self._timers, []
        for timer, callback in timers:
            if not timer.cancelled():
                callback()

    def _watched(
        self, delay: float, callback: Callable[..., object], *args: Any
    ) -> asyncio.TimerHandle:
        timer = self._call_later(delay, callback, *args)
        if delay == STALL_SECONDS:
            self._timers.append((timer, partial(callback, *args)))
        return timer


class StalledDisk:
    """`stall` does not return until the disk goes on."""

    def __init__(self) -> None:
        self._stalled, self._going = threading.Event(), threading.Event()

    def stall(self, *_: object) -> None:
        self._stalled.set()
        assert self._going.wait(60)

    async def stalls(self) -> None:
        """Waits until somebody waits for it."""
        assert await asyncio.to_thread(self._stalled.wait, 60)

    def go_on(self) -> None:
        self._going.set()


class Told:
    """What a store says of its stalls."""

    def __init__(self, database: Database) -> None:
        self.all: list[bool] = []
        self._changes = Changes()
        database.on_stall = self._tell

    async def until(self, *stalls: bool) -> None:
        """Waits until it has said this, and nothing else."""
        await self._changes.until(lambda: self.all == list(stalls))

    def _tell(self, stalls: bool) -> None:
        self.all.append(stalls)
        self._changes.notify()
