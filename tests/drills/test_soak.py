"""What has grown beyond its tolerance is named; what allocators and pools do is not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from drills.common.pausing import Pausing
from drills.soak import MIB, Held, growth

RESTED = Held(resident=400 * MIB, files=50, threads=20, tasks=5)


def test_what_an_allocator_keeps_is_no_growth() -> None:
    assert growth(RESTED, replace(RESTED, resident=440 * MIB, files=58)) == []


def test_each_kind_of_growth_is_named() -> None:
    grown = Held(resident=441 * MIB, files=59, threads=27, tasks=12)
    assert [line.partition(":")[0] for line in growth(RESTED, grown)] == [
        *("resident set", "files", "threads", "tasks")
    ]


async def test_pause_begins_when_nobody_works_and_nobody_works_until_it_ends() -> None:
    pausing, seen = Pausing(), list[str]()
    begun, working = asyncio.Event(), asyncio.Event()

    async def work(name: str) -> None:
        async with pausing.work():
            seen.append(f"{name} begins")
            begun.set()
            await working.wait()
            seen.append(f"{name} ends")

    async def pause() -> None:
        async with pausing.paused():
            seen.append("pause begins")
            later.append(asyncio.create_task(work("second")))
            await asyncio.wait(later, timeout=0)
            seen.append("pause ends")

    later: list[asyncio.Task[None]] = []
    first = asyncio.create_task(work("first"))
    await begun.wait()
    pausing_task = asyncio.create_task(pause())
    await asyncio.wait([pausing_task], timeout=0)
    working.set()
    await pausing_task
    await asyncio.gather(first, *later)
    assert seen == [
        *("first begins", "first ends", "pause begins", "pause ends"),
        *("second begins", "second ends"),
    ]
