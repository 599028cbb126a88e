"""A lock that is fair between tenants, for work that takes long."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TenantLock:
    """A fair lock: tenants that wait take turns, each in the order in which it asked."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By tenant, in the order in which they get the lock."""

    @asynccontextmanager
    async def acquire(self, tenant: str) -> AsyncIterator[None]:
        """Holds the lock for the length of the block, once it is the tenant's turn."""
        if self._taken:
            await self._wait(tenant)
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, tenant: str) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():  # the turn had come just then
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        for tenant in list(self._waiting):
            waiting = self._waiting.pop(tenant)
            while waiting:
                following = waiting.popleft()
                if not following.done():
                    if waiting:
                        self._waiting[tenant] = waiting  # behind all other tenants
                    following.set_result(None)
                    return
        self._taken = False
