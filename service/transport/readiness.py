"""Whether requests make sense now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Readiness:
    """Whether requests make sense now, and who wants to know when that changes."""

    def __init__(self) -> None:
        self._extractor_ready = False
        self._draining = False
        self._listeners: list[Callable[[bool], None]] = []
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """True while the backbones answer and the server is not stopping."""
        return self._extractor_ready and not self._draining

    def listen(self, listener: Callable[[bool], None]) -> None:
        """Calls `listener` now and at every change."""
        self._listeners.append(listener)
        listener(self.ready)

    async def until_ready(self) -> None:
        """Returns as soon as requests make sense."""
        while not self.ready:
            await self._changed.wait()

    def note_extractor(self, ready: bool) -> None:
        """The extractor has become ready, or has ceased to be."""
        self._extractor_ready = ready
        self._announce()

    def drain(self) -> None:
        """The server is stopping."""
        self._draining = True
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        for listener in self._listeners:
            listener(self.ready)
