"""Runs fits in a process of their own, so that predictions never wait for one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import adapters
from service import fitting_frames as frames
from service.errors import FitterDied, PreconditionFailed

SLICE_BYTES = 1024 * 1024
BLAS_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class FittedHead:
    """What a fit made, ready to be stored."""

    labels: tuple[str, ...]
    report: dict[str, Any]
    safetensors: bytes


class Fitter:
    """One training process, kept warm; fits wait for one another in order."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process: Process | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Starts the process, so that the first fit does not wait for it."""
        environment = {name: str(self._threads) for name in BLAS_THREAD_VARIABLES}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service.fitting_worker"),
            stdin=PIPE,
            stdout=PIPE,
            env=os.environ | environment,
        )

    async def close(self) -> None:
        """Ends the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until no other fit runs, and keeps others waiting."""
        async with self._turn:
            yield

    async def fit(
        self,
        embeddings: NDArray[np.float32],
        labels: Sequence[str],
        spec: adapters.HeadSpec,
        fingerprint: str,
        progress: Callable[[float, str], None],
    ) -> FittedHead:
        """Fits a head; call it within `turn`. Cancelling it ends the process.

        Args:
            embeddings: float32, shape (n, dim).

        Raises:
            PreconditionFailed: no head can be learned from these examples.
            FitterDied: the process ended, for want of memory perhaps.
        """
        if self._process is None or self._process.returncode is not None:
            await self.start()
        assert self._process is not None
        header = {
            "shape": embeddings.shape,
            "labels": list(labels),
            "spec": spec.to_json(),
            "fingerprint": fingerprint,
        }
        payload = np.ascontiguousarray(embeddings, dtype="<f4").data.cast("B")
        try:
            await self._send(self._process, frames.pack_header(header, len(payload)), payload)
            return await self._receive(self._process, progress)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            status = await self._process.wait()
            raise FitterDied(f"the training process ended with status {status}") from error
        except asyncio.CancelledError:
            await self.close()
            raise

    @staticmethod
    async def _send(process: Process, header: bytes, payload: memoryview) -> None:
        assert process.stdin is not None
        process.stdin.write(header)
        for start in range(0, len(payload), SLICE_BYTES):
            process.stdin.write(payload[start : start + SLICE_BYTES])
            await process.stdin.drain()

    @staticmethod
    async def _receive(process: Process, progress: Callable[[float, str], None]) -> FittedHead:
        assert process.stdout is not None
        while True:
            prefix = await process.stdout.readexactly(frames.PREFIX.size)
            header_length, payload_length = frames.PREFIX.unpack(prefix)
            header = json.loads(await process.stdout.readexactly(header_length))
            payload = await process.stdout.readexactly(payload_length)
            if "progress" in header:
                progress(header["progress"], header["phase"])
            elif "error" in header:
                raise PreconditionFailed(
                    header["error"],
                    field=header["field"],
                    limit=header["limit"],
                    value=header["value"],
                )
            else:
                return FittedHead(tuple(header["labels"]), header["report"], payload)
