"""Runs fits in a process of their own, so that predictions never wait for one."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from service.fitting.task import FitTask, FittedHead
from service.subprocesses import frames
from service.subprocesses.process import died_as, end_process, next_frame, send, start_process


class FitProcess:
    """One training process, kept warm; fits wait for one another in order."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process: Process | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Starts the process, so that the first fit does not wait for it."""
        self._process = await start_process("service.fitting.worker", self._threads)

    async def close(self) -> None:
        """Ends the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is not None:
            await end_process(process)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until no other fit runs, and keeps others waiting."""
        async with self._turn:
            yield

    async def fit(self, task: FitTask, progress: Callable[[float, str], None]) -> FittedHead:
        """Fits a head; call it within `turn`. Cancelling it ends the process.

        Raises:
            PreconditionFailed: no head can be learned from these examples.
            FitFailed: by a fault of ours.
            FitterDied: the process ended, for want of memory perhaps.
        """
        if self._process is None or self._process.returncode is not None:
            await self.start()
        assert self._process is not None
        layout, parts = frames.pack_arrays(task.arrays())
        header = {
            "arrays": layout,
            "labels": list(task.labels),
            "test_labels": list(task.test_labels),
            "spec": task.spec.to_json(),
            "fingerprint": task.fingerprint,
        }
        header_frame = frames.pack_header(header, sum(map(len, parts)))
        try:
            async with died_as(self._process, "the training process"):
                await send(self._process, [header_frame, *parts])
                return await _receive(self._process, progress)
        except asyncio.CancelledError:
            await self.close()
            raise


async def _receive(process: Process, progress: Callable[[float, str], None]) -> FittedHead:
    while True:
        header, payload = await next_frame(process)
        if "progress" in header:
            progress(header["progress"], header["phase"])
        else:
            return FittedHead(
                tuple(header["labels"]),
                header["report"],
                header["test"],
                header["cpu_seconds"],
                payload,
            )
