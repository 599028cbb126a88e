"""Asking again where there is no room at the moment, for work that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.errors import QueueFull, Unavailable

R = TypeVar("R")

ATTEMPTS = 60


async def retry_when_full(ask: Callable[[], Awaitable[R]]) -> R:
    """Gives what is asked for, again after the pause that a full or absent server asks for.

    Raises:
        QueueFull, Unavailable: it still was after so many attempts.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return await ask()
        except (QueueFull, Unavailable) as error:
            await asyncio.sleep(error.retry_after or 1.0)
    return await ask()
