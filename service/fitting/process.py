"""Runs fits in a process of their own, so that predictions never wait for one."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters import Progress
from service.errors import Unavailable
from service.fitting.task import FitTask, FittedHead
from service.subprocesses import frames
from service.subprocesses.process import died_as, end_process, next_frame, send, start_process


class FitProcess:
    """One process that fits, started when first wanted; fits wait for one another in order."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process: Process | None = None
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

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Acquires the process for one fit; others wait."""
        async with self._lock:
            yield

    async def fit(self, task: FitTask, progress: Progress) -> FittedHead:
        """Fits a head; needs `acquire`. Cancelling it ends the process.

        Raises:
            PreconditionFailed: no head can be learned from these examples.
            FitFailed: by a fault of ours.
            FitterDied: the process ended, for want of memory perhaps.
        """
        process = await self._running()
        layout, parts = frames.pack_arrays(task.arrays())
        header = {
            "arrays": layout,
            "labels": list(task.labels),
            "groups": task.groups,
            "held_out_labels": task.held_out and task.held_out.labels,
            "held_out_groups": task.held_out and task.held_out.groups,
            "spec": task.spec.to_json(),
            "fingerprint": task.fingerprint,
        }
        header_frame = frames.pack_header(header, sum(map(len, parts)))
        try:
            async with died_as(process, "the training process"):
                await send(process, [header_frame, *parts])
                return await _receive(process, progress)
        except asyncio.CancelledError:
            await self._end()
            raise

    async def _running(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            process = await start_process("service.fitting.worker", self._threads)
            if self._closed:
                await end_process(process)
                raise Unavailable("the server is shutting down", retry_after=1.0)
            self._process = process
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await end_process(process)


async def _receive(process: Process, progress: Progress) -> FittedHead:
    while True:
        header, payload = await next_frame(process)
        if "progress" in header:
            progress(header["progress"], header["phase"])
        else:
            return FittedHead(
                tuple(header["labels"]),
                header["report"],
                header["held_out"],
                header["cpu_seconds"],
                payload,
            )
