"""Whether the server can serve requests now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Readiness:
    """Whether the server can serve requests now, and when that changes.

    Attributes:
        detail: says what is wrong although the server is ready; empty if nothing is.
    """

    def __init__(self) -> None:
        self.detail: Callable[[], str] = str
        self._extractor_ready = False
        self._store_stalls = False
        self._lapsed = False
        self._grpc_listens = True
        self._draining = False
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """True while the backbones and the store answer and the server is not stopping."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why requests cannot be served now; empty if they can."""
        states = {
            "the server is stopping": self._draining,
            "the backbones do not answer": not self._extractor_ready,
            "the store does not answer, as its disk stalls": self._store_stalls,
            "the store was out of reach for too long": self._lapsed,
            "gRPC cannot listen on its port": not self._grpc_listens,
        }
        return tuple(reason for reason, holds in states.items() if holds)

    async def until_ready(self) -> None:
        """Returns as soon as the server can serve requests."""
        while not self.ready:
            await self.until_change()

    async def until_change(self) -> None:
        """Returns as soon as something has changed."""
        await self._changed.wait()

    def set_extractor_ready(self, ready: bool) -> None:
        """Sets whether the extractor is ready."""
        self._extractor_ready = ready
        self._notify()

    def set_store_stalls(self, stalls: bool) -> None:
        """Sets whether the store's disk stalls."""
        self._store_stalls = stalls
        self._notify()

    def set_lapsed(self, lapsed: bool) -> None:
        """Sets whether it may be that other servers have changed what this one does not know of."""
        self._lapsed = lapsed
        self._notify()

    def set_grpc_listens(self, listens: bool) -> None:
        """Sets whether gRPC's port is open, once it has been."""
        self._grpc_listens = listens
        self._notify()

    def drain(self) -> None:
        """Reports not ready from now on: the server is stopping."""
        self._draining = True
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
