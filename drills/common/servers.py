"""Servers under attack, and calls to them from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import httpx
import psutil

from service.access import operator_key
from tests.e2e.processes import Running, serve_command
from tests.e2e.transports import Grpc, Refused, Rest

P = ParamSpec("P")
T = TypeVar("T")

TEXTS = "minilm/l6-v2"
IMAGES = "efficientnet/lite0"


class Away(Exception):
    """The server went away before it replied, or says that it is: what was sent is in doubt."""


@asynccontextmanager
async def serving(command: list[str], log: Path) -> AsyncIterator[Running]:
    """A process that serves within the block, and its children no longer than it."""
    running = Running.start(command, log)
    try:
        await asyncio.to_thread(running.wait_until_serving)
        yield running
    finally:
        running.close()


@asynccontextmanager
async def server(folder: Path, *options: str) -> AsyncIterator[Running]:
    """``trunkline serve`` on a store in the folder; where it asks for keys, with the operator's."""
    data_dir = folder / "data"
    async with serving(serve_command(data_dir, *options), folder / "log") as running:
        if (key := data_dir / operator_key.FILE).exists():
            running.token = key.read_text().strip()
        yield running


@contextmanager
def both_ways(running: Running) -> Iterator[tuple[Grpc, Rest]]:
    """A connection over each transport."""
    ways = Grpc(running.grpc, running.token), Rest(running.rest, running.token)
    try:
        yield ways
    finally:
        for way in ways:
            way.close()


async def ask(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Makes a blocking call in a thread.

    Raises:
        Away: the server went away.
        Refused: it refused for another reason.
        TimeoutError: no answer came in time.
    """
    try:
        return await asyncio.to_thread(call, *args, **kwargs)
    except Refused as error:
        if error.code == "UNAVAILABLE":
            raise Away(str(error)) from error
        if error.code == "DEADLINE_EXCEEDED":
            raise TimeoutError(str(error)) from error
        raise
    except httpx.TimeoutException as error:
        raise TimeoutError(f"no answer over REST: {error!r}") from error
    except httpx.TransportError as error:
        raise Away(repr(error)) from error


def children(running: Running, module: str) -> list[psutil.Process]:
    """Processes of the server that run ``python -m module``."""
    found = []
    with suppress(psutil.NoSuchProcess):  # the server has just ended
        for child in psutil.Process(running.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if module in child.cmdline():
                    found.append(child)
    return found
