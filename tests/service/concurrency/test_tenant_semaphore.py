"""A semaphore that is fair between tenants."""

from __future__ import annotations

import asyncio

from service.concurrency.tenant_semaphore import TenantSemaphore


class Workers:
    """Work that ends when it is told to, and the order in which it began."""

    def __init__(self) -> None:
        self.semaphore = TenantSemaphore()
        self.began: list[str] = []
        self._end: dict[str, asyncio.Event] = {}

    def start(self, tenant: str, name: str) -> asyncio.Task[None]:
        self._end[name] = asyncio.Event()
        return asyncio.create_task(self._work(tenant, name))

    async def end(self, name: str) -> None:
        self._end[name].set()
        await until_idle()

    async def _work(self, tenant: str, name: str) -> None:
        async with self.semaphore.hold(tenant):
            self.began.append(name)
            await self._end[name].wait()


async def until_idle() -> None:
    """Lets every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_tenant_who_asks_for_much_delays_another_by_one_turn() -> None:
    workers = Workers()
    tasks = [workers.start("acme", name) for name in ("acme 1", "acme 2", "acme 3")]
    tasks.append(workers.start("bolt", "bolt 1"))
    await until_idle()
    for name in ("acme 1", "acme 2", "bolt 1", "acme 3"):
        assert workers.began[-1] == name
        await workers.end(name)
    assert all(task.done() for task in tasks)


async def test_who_leaves_passes_the_turn_on() -> None:
    workers = Workers()
    async with workers.semaphore.hold("acme"):
        waiting, chosen = workers.start("bolt", "waiting"), workers.start("core", "chosen")
        last = workers.start("dune", "last")
        await until_idle()
        waiting.cancel()
        await until_idle()
    chosen.cancel()  # its turn has come, and it has not begun
    await until_idle()
    assert workers.began == ["last"]
    await workers.end("last")
    assert last.done()
    async with workers.semaphore.hold("acme"):
        assert workers.began == ["last"]


async def test_work_that_fails_passes_the_turn_on() -> None:
    workers = Workers()
    failing, following = workers.start("acme", "failing"), workers.start("acme", "following")
    await until_idle()
    failing.cancel()
    await until_idle()
    assert workers.began == ["failing", "following"]
    await workers.end("following")
    assert following.done()
