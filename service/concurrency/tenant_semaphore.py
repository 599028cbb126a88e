"""A semaphore that is fair between tenants, for work that takes long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.concurrency.fair_queue import FairQueue, Row


class TenantSemaphore:
    """Lets a few in at once; tenants that wait take turns, each in the order in which it asked.

    A tenant waits for at most one turn of each other tenant.
    """

    def __init__(self, slots: int = 1) -> None:
        self._free = slots
        self._queue: FairQueue[None, None] = FairQueue()

    @asynccontextmanager
    async def hold(self, tenant: str) -> AsyncIterator[None]:
        """Holds a slot for the length of the block, once it is the tenant's turn."""
        await self.acquire(tenant)
        try:
            yield
        finally:
            self.release()

    async def acquire(self, tenant: str) -> None:
        """Waits for the tenant's turn and takes a slot."""
        loop = asyncio.get_running_loop()
        row: Row[None, None] = Row(tenant, None, 1, None, loop.create_future(), loop.time())
        self._queue.push(row)
        self._pass_on()
        try:
            await row.future
        except asyncio.CancelledError:
            if not row.future.cancelled():  # the turn had come just then
                self.release()
            raise

    def release(self) -> None:
        """Gives a slot back."""
        self._free += 1
        self._pass_on()

    def _pass_on(self) -> None:
        while self._free and (row := self._queue.pop()) is not None:
            if not row.future.done():  # else nobody waits for it any more
                self._free -= 1
                row.future.set_result(None)
