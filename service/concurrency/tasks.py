"""Several things at once, and things that must not be left half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def gather_or_raise(work: Sequence[Coroutine[Any, Any, R]]) -> list[R]:
    """What each comes to; the first error ends them all, and is raised."""
    if len(work) == 1:  # as a rule, and a task would cost it time
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def to_thread_shielded(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs a function in a thread; a caller who is cancelled waits until it has ended."""
    work = asyncio.create_task(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
