"""Clients that can be paused between two calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Pausing:
    """Lets many work at once, and none of them while there is a pause."""

    def __init__(self) -> None:
        self._working = 0
        self._paused = False
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        """Waits for the end of a pause, then works; the next pause waits for its end."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._paused)
            self._working += 1
        try:
            yield
        finally:
            async with self._changed:
                self._working -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Begins when nobody works any more; nobody does until it ends."""
        async with self._changed:
            self._paused = True
            await self._changed.wait_for(lambda: not self._working)
        try:
            yield
        finally:
            async with self._changed:
                self._paused = False
                self._changed.notify_all()
