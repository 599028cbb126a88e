"""Retries where a server is full or away, for work that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.errors import QueueFull, Unavailable

R = TypeVar("R")

ATTEMPTS = 60


async def retry_when_full(call: Callable[[], Awaitable[R]]) -> R:
    """Calls until it succeeds, after the pauses that a full or absent server asks for.

    Raises:
        QueueFull, Unavailable: it still was after `ATTEMPTS` calls.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return await call()
        except (QueueFull, Unavailable) as error:
            await asyncio.sleep(error.retry_after or 1.0)
    return await call()
