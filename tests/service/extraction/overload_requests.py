"""Requests to a site in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.service.extraction.overloads import (
    Answer,
    Machine,
    Site,
)
from tests.service.virtual_time import VirtualLoop, run_virtually

IMAGES = Machine()


def on_site(machine: Machine, test: Callable[[Site], Coroutine[Any, Any, None]]) -> None:
    async def main(loop: VirtualLoop) -> None:
        async with Site(machine, loop) as site:
            await test(site)

    run_virtually(main)


def texts_of(count: int, letters: int = 1, name: str = "") -> list[str]:
    return [f"{name}{i}".ljust(letters, "x") for i in range(count)]


async def ask_now(
    site: Site, tenant: str, texts: list[str], seconds: float | None
) -> asyncio.Task[Answer]:
    task = asyncio.create_task(site.ask(tenant, texts, seconds))
    await asyncio.sleep(0.001)
    return task
