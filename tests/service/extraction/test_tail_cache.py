"""Tails in memory: bounded in bytes, loaded once, never gone from under a row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import generate_latest

from models.tails import tail_fingerprint
from service.errors import BackboneFailed, NotFound, PreconditionFailed
from service.extraction import TailRef
from service.extraction.tail_cache import Place, TailCache
from service.metrics import Metrics
from tests.service.tiny_backbone import TinyBackbone, TinyTail, tail_file
from tests.service.waiting import Changes

SIZE = len(tail_file(1))


class Shelf:
    """A cache, and the files that its tails come from. Reading waits while `go` is not set."""

    def __init__(self, tails: int = 2) -> None:
        self.metrics = Metrics(5)
        self.cache = TailCache(tails * SIZE, self.metrics)
        self.backbone = TinyBackbone()
        self.reads: list[str] = []
        self.changes = Changes()
        self.go = asyncio.Event()
        self.go.set()

    def ref(self, data: bytes, error: Exception | None = None) -> TailRef:
        fingerprint = tail_fingerprint(data)

        async def read() -> bytes:
            self.reads.append(fingerprint)
            self.changes.note()
            await self.go.wait()
            if error is not None:
                raise error
            return data

        return TailRef(fingerprint, read)

    def tail(self, shift: float) -> TailRef:
        return self.ref(tail_file(shift))

    async def use(self, ref: TailRef, tenant: str = "acme") -> float:
        async with self.cache.lend(tenant, self.backbone, ref) as place:
            return shift(place)

    @asynccontextmanager
    async def using(self, ref: TailRef) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """A row that keeps the tail until it is told to leave."""
        entered, leave = asyncio.Event(), asyncio.Event()

        async def row() -> None:
            async with self.cache.lend("acme", self.backbone, ref) as place:
                entered.set()
                await leave.wait()
                assert not loaded(place).closed

        task = asyncio.create_task(row())
        await entered.wait()

        async def go() -> None:
            leave.set()
            await task

        yield go
        await go()

    def told(self, name: str) -> float:
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        (line,) = (line for line in lines if line.startswith(f"trunkline_{name} "))
        return float(line.rpartition(" ")[2])


class Noted:
    """A counter that a test can wait for."""

    def __init__(self, changes: Changes) -> None:
        self.count = 0
        self._changes = changes

    def inc(self) -> None:
        self.count += 1
        self._changes.note()


def loaded(place: Place) -> TinyTail:
    assert isinstance(place.tail, TinyTail)
    return place.tail


def shift(place: Place) -> float:
    return float(loaded(place).shift[0])


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    made = Shelf()
    yield made
    made.go.set()
    await made.cache.drop(made.backbone)
    await made.cache.close()
    assert all(tail.closed for tail in made.backbone.tails)
    assert made.told("tail_cache_bytes") == 0


async def test_tail_is_read_once_and_then_lent_from_memory(shelf: Shelf) -> None:
    assert [await shelf.use(shelf.tail(1)) for _ in range(3)] == [1, 1, 1]
    assert len(shelf.reads) == 1
    assert shelf.told("tail_cache_bytes") == SIZE


async def test_rows_that_want_the_same_cold_tail_load_it_once(shelf: Shelf) -> None:
    shelf.go.clear()
    rows = [asyncio.create_task(shelf.use(shelf.tail(1), tenant)) for tenant in "abc"]
    await shelf.changes.until(lambda: len(shelf.reads) == 1)
    shelf.go.set()
    assert await asyncio.gather(*rows) == [1, 1, 1]
    assert len(shelf.backbone.tails) == 1


async def test_least_recently_used_tail_goes_first_and_its_memory_with_it(shelf: Shelf) -> None:
    for number in (1, 2, 1, 3):
        await shelf.use(shelf.tail(number))
    assert [(tail.shift[0], tail.closed) for tail in shelf.backbone.tails] == [
        (1, False),
        (2, True),
        (3, False),
    ]
    assert shelf.told("tail_evictions_total") == 1
    assert shelf.told("tail_cache_bytes") == 2 * SIZE


async def test_tail_in_use_is_kept_although_others_were_used_later(shelf: Shelf) -> None:
    async with shelf.using(shelf.tail(1)):
        for number in (2, 3, 4):
            await shelf.use(shelf.tail(number))
        assert not shelf.backbone.tails[0].closed
        assert shelf.told("tail_cache_bytes") == 2 * SIZE


async def test_row_waits_for_room_and_no_new_rows_come_between(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    evictions = Noted(shelf.changes)
    monkeypatch.setattr(shelf.metrics, "tail_evictions", evictions)
    async with shelf.using(shelf.tail(1)) as leave_first, shelf.using(shelf.tail(2)):
        late = asyncio.create_task(shelf.use(shelf.tail(3), "bolt"))
        await shelf.changes.until(lambda: evictions.count == 1)
        again = asyncio.create_task(shelf.use(shelf.tail(1)))
        await asyncio.sleep(0)
        assert not late.done()
        await leave_first()
        assert await late == 3
        assert await again == 1  # behind the other: it had to be loaded anew
    assert len(shelf.reads) == 4


async def test_batch_keeps_a_tail_whose_rows_have_left(shelf: Shelf) -> None:
    async with shelf.cache.lend("acme", shelf.backbone, shelf.tail(1)) as place:
        batch = shelf.cache.hold([place])
        batch.__enter__()
    for number in (2, 3):
        async with shelf.using(shelf.tail(number)):
            pass
    async with shelf.using(shelf.tail(2)):
        late = asyncio.create_task(shelf.use(shelf.tail(3)))
        await asyncio.sleep(0)
        assert not loaded(place).closed
        batch.__exit__(None, None, None)
        assert await late == 3


async def test_large_tail_drives_several_out(shelf: Shelf) -> None:
    await shelf.use(shelf.tail(1))
    async with shelf.using(shelf.tail(2)):
        large = asyncio.create_task(shelf.use(shelf.ref(tail_file(3, extra=SIZE // 8))))
        await shelf.changes.until(lambda: len(shelf.reads) == 3)
    assert await large == 3
    assert [tail.closed for tail in shelf.backbone.tails] == [True, True, False]


async def test_tail_larger_than_the_cache_is_refused_and_its_memory_given_back(
    shelf: Shelf,
) -> None:
    shelf.cache = TailCache(SIZE - 1, shelf.metrics)
    with pytest.raises(PreconditionFailed) as caught:
        await shelf.use(shelf.tail(1))
    assert (caught.value.field, caught.value.limit, caught.value.value) == ("tail", SIZE - 1, SIZE)
    assert shelf.backbone.tails[0].closed
    await shelf.cache.close()


async def test_file_that_cannot_be_read_says_so_and_is_tried_again_by_the_next(
    shelf: Shelf,
) -> None:
    data = tail_file(1)
    with pytest.raises(NotFound, match="gone"):
        await shelf.use(shelf.ref(data, NotFound("gone")))
    with pytest.raises(BackboneFailed, match=r"cannot be loaded$"):
        await shelf.use(shelf.ref(data, OSError("secret path")))
    assert await shelf.use(shelf.ref(data)) == 1


@pytest.mark.parametrize("data", [b"no tail", tail_file(1, fingerprint="0" * 64)])
async def test_file_that_is_no_tail_of_the_backbone_says_so(shelf: Shelf, data: bytes) -> None:
    with pytest.raises(BackboneFailed, match=r"cannot be loaded: .*tail"):
        await shelf.use(shelf.ref(data))


async def test_file_of_another_tail_is_refused(shelf: Shelf) -> None:
    async def other() -> bytes:
        return tail_file(2)

    ref = TailRef(tail_fingerprint(tail_file(1)), other)
    with pytest.raises(BackboneFailed) as caught:
        await shelf.use(ref)
    assert caught.value.limit == ref.fingerprint
    assert shelf.backbone.tails[0].closed


async def test_failing_load_fails_only_who_waits_for_it(shelf: Shelf) -> None:
    shelf.go.clear()
    bad = asyncio.create_task(shelf.use(shelf.ref(tail_file(1), NotFound("gone"))))
    good = asyncio.create_task(shelf.use(shelf.tail(2), "bolt"))
    await shelf.changes.until(lambda: len(shelf.reads) == 1)
    shelf.go.set()
    assert await good == 2
    with pytest.raises(NotFound):
        await bad


async def test_tenants_take_turns_with_loads(shelf: Shelf) -> None:
    shelf.go.clear()
    many = [asyncio.create_task(shelf.use(shelf.tail(number))) for number in range(10)]
    await shelf.changes.until(lambda: len(shelf.reads) == 1)
    one = asyncio.create_task(shelf.use(shelf.tail(99), "bolt"))
    await asyncio.sleep(0)
    shelf.go.set()
    assert await one == 99
    await asyncio.gather(*many)
    assert shelf.reads.index(shelf.tail(99).fingerprint) <= 2


async def test_tail_that_nobody_waits_for_any_more_is_not_loaded(shelf: Shelf) -> None:
    shelf.go.clear()
    first = asyncio.create_task(shelf.use(shelf.tail(1)))
    await shelf.changes.until(lambda: len(shelf.reads) == 1)
    gone = asyncio.create_task(shelf.use(shelf.tail(2)))
    await asyncio.sleep(0)
    for row in (gone, first):
        row.cancel()
    await asyncio.gather(gone, first, return_exceptions=True)
    shelf.go.set()
    assert await shelf.use(shelf.tail(3)) == 3
    # The one whose load was under way is closed again; the other was never read.
    assert [(tail.shift[0], tail.closed) for tail in shelf.backbone.tails] == [
        (1, True),
        (3, False),
    ]
    assert shelf.told("tail_cache_bytes") == SIZE


async def test_row_that_comes_back_loads_a_tail_that_was_given_up(shelf: Shelf) -> None:
    shelf.go.clear()
    first = asyncio.create_task(shelf.use(shelf.tail(1)))
    await shelf.changes.until(lambda: len(shelf.reads) == 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    again = asyncio.create_task(shelf.use(shelf.tail(1)))
    await asyncio.sleep(0)
    shelf.go.set()
    assert await again == 1


async def test_tail_forgotten_before_its_load_begins_fails_those_who_waited_and_nobody_else(
    shelf: Shelf,
) -> None:
    shelf.go.clear()
    first = asyncio.create_task(shelf.use(shelf.tail(1)))
    await shelf.changes.until(lambda: len(shelf.reads) == 1)
    waiting = asyncio.create_task(shelf.use(shelf.tail(2)))
    await asyncio.sleep(0)
    shelf.cache.forget(shelf.tail(2).fingerprint)
    again = asyncio.create_task(shelf.use(shelf.tail(2), "bolt"))
    await asyncio.sleep(0)
    shelf.go.set()
    with pytest.raises(PreconditionFailed, match="forgotten"):
        await waiting
    assert (await first, await again) == (1, 2)
    assert len(shelf.backbone.tails) == 2


async def test_loaded_tail_is_not_lent_to_rows_of_another_backbone(shelf: Shelf) -> None:
    await shelf.use(shelf.tail(1))
    other = TinyBackbone("tiny/other")
    other.fingerprint = "0" * 64
    with pytest.raises(PreconditionFailed, match="is one of tiny/text"):
        async with shelf.cache.lend("acme", other, shelf.tail(1)):
            pass
    assert await shelf.use(shelf.tail(1)) == 1


async def test_dropping_a_backbone_waits_for_its_rows_and_fails_those_without_a_tail(
    shelf: Shelf,
) -> None:
    async with shelf.using(shelf.tail(1)) as leave:
        shelf.go.clear()
        waiting = asyncio.create_task(shelf.use(shelf.tail(2)))
        await shelf.changes.until(lambda: len(shelf.reads) == 2)
        drop = asyncio.create_task(shelf.cache.drop(shelf.backbone))
        await asyncio.sleep(0)
        shelf.go.set()
        with pytest.raises(PreconditionFailed, match="unloaded"):
            await waiting
        assert not drop.done()
        await leave()
        await drop
    assert all(tail.closed for tail in shelf.backbone.tails)
