"""Work that must not stop half-way, also when the one who asked for it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


class UninterruptedTasks:
    """Runs work to its end: a caller who is cancelled stops waiting, not the work.

    What follows a commit (memory that must agree with the store, a job that must be launched)
    belongs in here together with the commit.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Gives what the work gives."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Waits for what is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
