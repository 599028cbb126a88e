"""Tasks that run at once, and tasks that go on when whoever waits for them is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from service.errors import is_expected
from service.logs import get_logger

R = TypeVar("R")

log = get_logger(__name__)


async def gather_or_raise(work: Sequence[Coroutine[Any, Any, R]]) -> list[R]:
    """Runs coroutines at once and returns their results; the first error ends them all."""
    if len(work) == 1:  # the usual case; a task would cost it time
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


class UninterruptedTasks:
    """Runs work that a caller who is cancelled does not cancel.

    What must follow a commit, such as the launch of a job, belongs in here together with it. What
    memory holds of the store follows by itself: `Database.follow`.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Runs work to its end and returns its result.

        An error that comes after whoever waits for it was cancelled goes to the log.
        """
        task = asyncio.create_task(work)
        self._keep(task)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_error)
            raise

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begins work that nobody waits for; it deals with its own errors."""
        self._keep(asyncio.create_task(work))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Waits for what is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _log_error(task: asyncio.Task[Any]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    if is_expected(error):
        log.info("failed after the client had left", reason=str(error))
    else:
        log.error("failed after the client had left", exc_info=error)
