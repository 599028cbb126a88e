"""Has options compared in a process of its own, which ends with the comparison."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import FitterDied
from service.fitting.process import BLAS_THREAD_VARIABLES, SLICE_BYTES, next_frame
from service.subprocesses import frames as frames


@dataclass(frozen=True, slots=True)
class AdviceTask:
    """What a comparison needs.

    Attributes:
        embeddings: float32 of shape (n, dim), by backbone.
        raw: uint8 of shape (n, width): the pixels of pictures; or n texts.
        labels: one per example.
        seed: decides how examples are dealt.
    """

    embeddings: Mapping[str, NDArray[np.float32]]
    raw: NDArray[np.uint8] | Sequence[str]
    labels: Sequence[str]
    seed: int

    def pack(self) -> list[memoryview]:
        """The task as a frame, in parts."""
        arrays: dict[str, NDArray[Any]] = {
            f"embeddings/{name}": rows for name, rows in self.embeddings.items()
        }
        if isinstance(self.raw, np.ndarray):
            arrays["pixels"] = self.raw
        else:
            texts = [text.encode() for text in self.raw]
            arrays["texts"] = np.frombuffer(b"".join(texts), dtype=np.uint8)
            arrays["ends"] = np.cumsum([len(text) for text in texts], dtype=np.int64)
        layout, parts = frames.pack_arrays(arrays)
        header = {
            "arrays": layout,
            "backbones": list(self.embeddings),
            "labels": list(self.labels),
            "seed": self.seed,
        }
        return [memoryview(frames.pack_header(header, sum(map(len, parts)))), *parts]


async def compare_options(
    task: AdviceTask, threads: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """What `adapters.advice.Advice` says as JSON, and the seconds that each option took.

    Cancelling it ends the process.

    Raises:
        PreconditionFailed: nothing can be learned from these examples.
        FitFailed: by a fault of ours.
        FitterDied: the process ended, for want of memory perhaps.
    """
    parts = await asyncio.to_thread(task.pack)
    environment = {name: str(threads) for name in BLAS_THREAD_VARIABLES}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.advice.worker"),
        stdin=PIPE,
        stdout=PIPE,
        env=os.environ | environment,
    )
    try:
        await _send(process, parts)
        answer, _ = await next_frame(process)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        status = await process.wait()
        raise FitterDied(f"the process that compares ended with status {status}") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return answer["advice"], answer["seconds"]


async def _send(process: Process, parts: Sequence[memoryview]) -> None:
    assert process.stdin is not None
    for part in parts:
        for start in range(0, len(part), SLICE_BYTES):
            process.stdin.write(part[start : start + SLICE_BYTES])
            await process.stdin.drain()
