"""A thread pool that is fair between tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from service.concurrency.tenant_semaphore import TenantSemaphore

P = ParamSpec("P")
R = TypeVar("R")


class TenantThreads:
    """Runs functions in a few threads; tenants take turns, however much each of them wants.

    What has begun is not interrupted: a tenant waits for at most one computation of each other
    tenant, as long as the longest of them.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = TenantSemaphore(threads)

    async def run(
        self, tenant: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Runs a function in a thread, when it is the tenant's turn, and returns its result."""
        loop, work = asyncio.get_running_loop(), partial(function, *args, **kwargs)
        await self._free.acquire(tenant)
        try:
            job = loop.run_in_executor(self._pool, work)
        except RuntimeError:  # the pool is closed
            self._free.release()
            raise
        job.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(job)  # whoever is cancelled leaves the thread at work

    async def close(self) -> None:
        """Waits for what is being computed; the rest is not begun."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
