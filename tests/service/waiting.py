"""Waiting until something has come true, without a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from service.metrics import Metrics


class Changes:
    """Lets a test wait until what it is told about has come true."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()


async def queued(metrics: Metrics, backbone: str, rows: int) -> None:
    """Waits until so many rows wait for the backbone."""
    labels = {"stage": "backbone", "backbone": backbone}
    for _ in range(1_000_000):
        if metrics.registry.get_sample_value("trunkline_queue_rows", labels) == rows:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{rows} rows never waited")
