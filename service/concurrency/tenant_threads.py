"""A thread pool that is fair between tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from service.concurrency.fair_queue import FairQueue, Row

P = ParamSpec("P")
R = TypeVar("R")

_Job = Callable[[], Any]


class TenantThreads:
    """Runs functions in a few threads; tenants take turns, however much each of them wants.

    What has begun is not interrupted: a tenant waits for at most one computation of each other
    tenant, as long as the longest of them.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._queue: FairQueue[_Job, Any] = FairQueue()
        self._free = threads

    async def run(
        self, tenant: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Runs a function in a thread, when it is the tenant's turn, and returns its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        job = partial(function, *args, **kwargs)
        self._queue.push(Row(tenant, job, 1, None, future, loop.time()))
        self._begin()
        return await future

    async def close(self) -> None:
        """Waits for what is being computed; the rest is not begun."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def _begin(self) -> None:
        while self._free and (row := self._queue.pop()) is not None:
            if row.future.done():  # nobody waits for it any more
                continue
            self._free -= 1
            job = row.future.get_loop().run_in_executor(self._pool, row.item)
            job.add_done_callback(partial(self._end, row.future))

    def _end(self, future: asyncio.Future[Any], job: asyncio.Future[Any]) -> None:
        self._free += 1
        error = None if job.cancelled() else job.exception()
        if future.done():
            pass  # nobody waits for it any more
        elif job.cancelled():
            future.cancel()
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(job.result())
        self._begin()
