"""Starts child processes, exchanges frames with them, and ends them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from service.errors import FitFailed, FitterDied, PreconditionFailed
from service.subprocesses import frames

BLAS_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SLICE_BYTES = 1024 * 1024


async def start_process(module: str, threads: int) -> Process:
    """Starts ``python -m module``, in a process group of its own.

    Ctrl-C in a terminal reaches the whole group that it runs: it is for the server, which ends its
    children in order.

    Args:
        threads: of the libraries that it computes with.
    """
    environment = {name: str(threads) for name in BLAS_THREAD_VARIABLES}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stdin=PIPE,
        stdout=PIPE,
        env=os.environ | environment,
        process_group=0,
    )


async def end_process(process: Process) -> None:
    """Ends it, whatever it is doing."""
    if process.returncode is None:
        process.kill()
        await process.wait()


@asynccontextmanager
async def process_of_one_task(module: str, threads: int, name: str) -> AsyncIterator[Process]:
    """Starts a process that ends with the block.

    Args:
        name: what an error calls it.

    Raises:
        FitterDied: the process ended by itself, for want of memory perhaps.
    """
    process = await start_process(module, threads)
    try:
        async with died_as(process, name):
            yield process
    finally:
        await end_process(process)


@asynccontextmanager
async def died_as(process: Process, name: str) -> AsyncIterator[None]:
    """Raises FitterDied where the process ends while the block speaks with it."""
    try:
        yield
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        status = await process.wait()
        raise FitterDied(f"{name} ended with status {status}") from error


async def send(process: Process, parts: Sequence[bytes | memoryview]) -> None:
    """Writes the parts of a frame, slice by slice: a whole one would be copied in memory."""
    assert process.stdin is not None
    for part in parts:
        for start in range(0, len(part), SLICE_BYTES):
            process.stdin.write(part[start : start + SLICE_BYTES])
            await process.stdin.drain()


async def next_frame(process: Process) -> tuple[dict[str, Any], bytes]:
    """Reads a process's next frame.

    Raises:
        PreconditionFailed: nothing can be learned from these examples.
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
