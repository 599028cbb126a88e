"""Asking again where a server is full or away."""

from __future__ import annotations

import pytest

from service.concurrency.retry import ATTEMPTS, retry_when_full
from service.errors import QueueFull, Unavailable


async def test_full_server_is_asked_again_but_not_for_ever() -> None:
    asked: list[int] = []

    async def ask() -> str:
        asked.append(1)
        if len(asked) < 3:
            raise QueueFull("full", retry_after=0.001)
        return "embedded"

    assert await retry_when_full(ask) == "embedded"
    assert len(asked) == 3

    async def never() -> str:
        asked.append(1)
        raise Unavailable("away", retry_after=0.0001)

    asked.clear()
    with pytest.raises(Unavailable):
        await retry_when_full(never)
    assert len(asked) == ATTEMPTS
