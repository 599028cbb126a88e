"""Whether the server can serve requests now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Readiness:
    """Whether the server can serve requests now; calls its listeners when that changes.

    Attributes:
        detail: says what is wrong although the server is ready; empty if nothing is.
    """

    def __init__(self) -> None:
        self.detail: Callable[[], str] = str
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
        """Returns as soon as the server can serve requests."""
        while not self.ready:
            await self._changed.wait()

    def set_extractor_ready(self, ready: bool) -> None:
        """Sets whether the extractor is ready."""
        self._extractor_ready = ready
        self._notify()

    def drain(self) -> None:
        """Reports not ready from now on: the server is stopping."""
        self._draining = True
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        for listener in self._listeners:
            listener(self.ready)
