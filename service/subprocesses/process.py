"""Starts child processes, exchanges frames with them, and ends them."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from adapters.progress import Progress, ignore_progress
from service.errors import FitFailed, FitterDied, PreconditionFailed
from service.logs import get_logger
from service.subprocesses import frames

BLAS_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SLICE_BYTES = 1024 * 1024
END_SECONDS = 1.0
"""Time for a process that was killed to end: only one that waits for a disk needs longer."""

log = get_logger(__name__)


class Child:
    """A child process that is sent frames and sends some, also while it computes: it is alive.

    Args:
        name: what an error calls it.
        silence_seconds: without a frame, or without taking what is sent, after which it hangs.
    """

    def __init__(self, process: Process, name: str, silence_seconds: float) -> None:
        self._process = process
        self._name = name
        self._silence_seconds = silence_seconds

    @classmethod
    async def start(cls, module: str, threads: int, name: str, silence_seconds: float) -> Self:
        """Starts ``python -m module``, in a session of its own.

        Ctrl-C in a terminal reaches the whole group that runs there. It is meant for the server,
        which ends its children in order.

        Args:
            threads: threads of the libraries that it computes with.

        Raises:
            FitterDied: it cannot be started, for want of memory perhaps.
        """
        environment = {name: str(threads) for name in BLAS_THREAD_VARIABLES}
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module),
                stdin=PIPE,
                stdout=PIPE,
                env=os.environ | environment,
                start_new_session=True,  # uvloop, where it is installed, knows no process_group
            )
        except OSError as error:
            raise FitterDied(f"{name} could not be started: {error.strerror}") from error
        return cls(process, name, silence_seconds)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is not known to have ended."""
        return self._process.returncode is None

    async def end(self) -> None:
        """Ends it, whatever it is doing."""
        if self.running:
            self._process.kill()
            try:
                async with asyncio.timeout(END_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                log.warning("a killed process does not end yet", name=self._name, pid=self.pid)

    async def ask(self, frame: frames.Parts, progress: Progress = ignore_progress) -> frames.Frame:
        """Sends a frame and returns the answer; raises what `send` and `next_frame` raise."""
        await self.send(frame)
        return await self.next_frame(progress)

    async def send(self, frame: frames.Parts) -> None:
        """Writes a frame slice by slice: a whole one would be copied in memory.

        Raises:
            FitterDied: it has ended, for want of memory perhaps, or hangs and was ended.
        """
        stdin = self._process.stdin
        assert stdin is not None
        for part in frame:
            for start in range(0, len(part), SLICE_BYTES):
                async with self._sign_of_life():
                    stdin.write(part[start : start + SLICE_BYTES])
                    await stdin.drain()

    async def next_frame(self, progress: Progress = ignore_progress) -> frames.Frame:
        """Reads its next frame but signs of life and reports of progress.

        Args:
            progress: takes the reports.

        Raises:
            PreconditionFailed: nothing can be learned from these examples.
            FitFailed: the fault is ours.
            FitterDied: it has ended, for want of memory perhaps, or hangs and was ended.
        """
        while True:
            async with self._sign_of_life():
                header, arrays = await self._read()
            if "progress" in header:
                progress(header["progress"], header["phase"], header["details"])
            elif header != frames.ALIVE:
                break
        if "failed" in header:
            raise FitFailed("the training failed by a fault of the server; its log has more")
        if "error" in header:
            raise PreconditionFailed(
                header["error"], field=header["field"], limit=header["limit"], value=header["value"]
            )
        return header, arrays

    async def _read(self) -> frames.Frame:
        stdout = self._process.stdout
        assert stdout is not None
        prefix = await stdout.readexactly(frames.PREFIX.size)
        header_length, payload_length = frames.PREFIX.unpack(prefix)
        text = await stdout.readexactly(header_length)
        return frames.unpack(text, await stdout.readexactly(payload_length))

    @asynccontextmanager
    async def _sign_of_life(self) -> AsyncIterator[None]:
        """Raises FitterDied where the process ends within the block, or gives no sign for long."""
        try:
            async with asyncio.timeout(self._silence_seconds):
                try:
                    yield
                except (asyncio.IncompleteReadError, ConnectionError) as error:
                    status = await self._process.wait()
                    raise FitterDied(f"{self._name} ended with status {status}") from error
        except TimeoutError as error:
            await self.end()
            raise FitterDied(
                f"{self._name} gave no sign of life for {self._silence_seconds:g} s, and was ended",
                field="child_silence_seconds",
                limit=self._silence_seconds,
            ) from error


@asynccontextmanager
async def child_of_one_task(
    module: str, threads: int, name: str, silence_seconds: float
) -> AsyncIterator[Child]:
    """Starts a process that ends with the block; see `Child.start`."""
    child = await Child.start(module, threads, name, silence_seconds)
    try:
        yield child
    finally:
        await child.end()
