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
from service.errors import FitFailed, FitterDied, PreconditionFailed
from service.subprocesses import frames as frames

SLICE_BYTES = 1024 * 1024
BLAS_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class FitTask:
    """What a fit needs.

    Attributes:
        embeddings: float32, shape (n, dim).
        labels: one per embedding.
        weights: float64, shape (n,); None weighs all alike.
        views: float32, shape (m, dim): view i is one of example `view_rows[i]`; None for none.
        view_rows: int64, shape (m,).
        start: the safetensors file of a head to begin from; None for none.
        test_embeddings: float32, shape (k, dim), to measure the head on; None for none.
        test_labels: one per embedding to measure on.
    """

    embeddings: NDArray[np.float32]
    labels: Sequence[str]
    spec: adapters.HeadSpec
    fingerprint: str
    weights: NDArray[np.float64] | None = None
    views: NDArray[np.float32] | None = None
    view_rows: NDArray[np.int64] | None = None
    start: bytes | None = None
    test_embeddings: NDArray[np.float32] | None = None
    test_labels: Sequence[str] = ()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that travels as raw bytes, by the name of its field."""
        start = None if self.start is None else np.frombuffer(self.start, dtype=np.uint8)
        arrays = {
            "embeddings": self.embeddings,
            "weights": self.weights,
            "views": self.views,
            "view_rows": self.view_rows,
            "start": start,
            "test_embeddings": self.test_embeddings,
        }
        return {name: array for name, array in arrays.items() if array is not None}


@dataclass(frozen=True, slots=True)
class FittedHead:
    """What a fit made.

    Attributes:
        report: `adapters.Report` as JSON; examples are named by their row.
        test: `adapters.Evaluation` on the test examples as JSON; None without any.
        cpu_seconds: processor time of the fit.
    """

    labels: tuple[str, ...]
    report: dict[str, Any]
    test: dict[str, Any] | None
    cpu_seconds: float
    safetensors: bytes


class FitProcess:
    """One training process, kept warm; fits wait for one another in order."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process: Process | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Starts the process, so that the first fit does not wait for it."""
        environment = {name: str(self._threads) for name in BLAS_THREAD_VARIABLES}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service.fitting.worker"),
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
        try:
            await self._send(self._process, header, parts)
            return await self._receive(self._process, progress)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            status = await self._process.wait()
            raise FitterDied(f"the training process ended with status {status}") from error
        except asyncio.CancelledError:
            await self.close()
            raise

    @staticmethod
    async def _send(process: Process, header: dict[str, Any], parts: Sequence[memoryview]) -> None:
        assert process.stdin is not None
        process.stdin.write(frames.pack_header(header, sum(map(len, parts))))
        for part in parts:
            for start in range(0, len(part), SLICE_BYTES):
                process.stdin.write(part[start : start + SLICE_BYTES])
                await process.stdin.drain()

    @staticmethod
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


async def next_frame(process: Process) -> tuple[dict[str, Any], bytes]:
    """What a training process says next.

    Raises:
        PreconditionFailed: no head can be learned from these examples.
        FitFailed: by a fault of ours.
        asyncio.IncompleteReadError: the process has ended.
    """
    assert process.stdout is not None
    prefix = await process.stdout.readexactly(frames.PREFIX.size)
    header_length, payload_length = frames.PREFIX.unpack(prefix)
    header = json.loads(await process.stdout.readexactly(header_length))
    payload = await process.stdout.readexactly(payload_length)
    if "failed" in header:
        raise FitFailed("the training failed by a fault of the server; its log has more")
    if "error" in header:
        raise PreconditionFailed(
            header["error"], field=header["field"], limit=header["limit"], value=header["value"]
        )
    return header, payload
