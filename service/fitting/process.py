"""Runs fits in a process of their own, so that predictions never wait for one."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from adapters import Progress
from service.errors import FitterDied, Unavailable
from service.fitting.task import FitTask, FittedHead
from service.subprocesses.process import Child


class FitProcess:
    """One process that fits, started when first wanted; fits wait for one another in order.

    Args:
        threads: threads of the process.
        silence_seconds: how long a fit may give no sign of life before it counts as hung.
    """

    def __init__(self, threads: int, silence_seconds: float) -> None:
        self._threads = threads
        self._silence_seconds = silence_seconds
        self._child: Child | None = None
        self._closed = False
        self._lock = asyncio.Lock()

    async def warm_up(self) -> None:
        """Starts the process, so that the next fit does not wait for it."""
        async with self.acquire():
            await self._running()

    async def close(self) -> None:
        """Ends the process, whatever it is doing; none is started any more."""
        self._closed = True
        await self._end()

    def acquire(self) -> AbstractAsyncContextManager[None]:
        """Acquires the process for one fit; others wait."""
        return self._lock

    async def fit(self, task: FitTask, progress: Progress) -> FittedHead:
        """Fits a head; needs `acquire`. Cancelling it ends the process.

        Raises:
            PreconditionFailed: no head can be learned from these examples.
            FitFailed: the fault is ours.
            FitterDied: the process ended, for want of memory perhaps, or hung.
            Unavailable: the server is being closed.
        """
        child = await self._running()
        try:
            return FittedHead.unpack(*await child.ask(task.pack(), progress))
        except FitterDied as error:
            self._child = None  # one that was killed while it waits for a disk may not have ended
            if self._closed:
                raise _closed() from error
            raise
        except asyncio.CancelledError:
            await self._end()
            raise

    async def _running(self) -> Child:
        if self._child is None or not self._child.running:
            child = await Child.start(
                "service.fitting.worker",
                self._threads,
                "the training process",
                self._silence_seconds,
            )
            if self._closed:
                await child.end()
                raise _closed()
            self._child = child
        return self._child

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()


def _closed() -> Unavailable:
    return Unavailable("the server is shutting down", retry_after=1.0)
