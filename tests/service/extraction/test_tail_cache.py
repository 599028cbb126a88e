"""Tails in memory: bounded in bytes, loaded once, never gone from under a row."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest

from models.backbone import LoadedTail
from models.tails import tail_fingerprint
from service.errors import BackboneFailed, NotFound, PreconditionFailed
from service.extraction import TailRef
from service.extraction.tail_cache import TailCache, TailSlot
from service.metrics import Metrics
from tests.service.tiny_backbone import TinyBackbone, TinyTail, tail_file
from tests.service.waiting import Changes

SIZE = len(tail_file(1))


class TailSetup:
    """A cache, and the files that its tails come from. Reading waits while `go` is not set."""

    def __init__(self, tails: int = 2, loads_at_once: int = 1) -> None:
        self.metrics = Metrics(5)
        self.cache = TailCache(tails * SIZE, self.metrics, loads_at_once)
        self.backbone = TinyBackbone()
        self.reads: list[str] = []
        self.changes = Changes()
        self.go = asyncio.Event()
        self.go.set()

    def ref(self, data: bytes, error: Exception | None = None) -> TailRef:
        fingerprint = tail_fingerprint(data)

        async def read() -> bytes:
            self.reads.append(fingerprint)
            self.changes.notify()
            await self.go.wait()
            if error is not None:
                raise error
            return data

        return TailRef(fingerprint, read)

    def tail(self, shift: float) -> TailRef:
        return self.ref(tail_file(shift))

    async def use(self, ref: TailRef, tenant: str = "acme") -> float:
        async with self.cache.acquire(tenant, self.backbone, ref) as slot:
            return shift(slot)

    @asynccontextmanager
    async def using(self, ref: TailRef) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """A row that keeps the tail until it is told to leave."""
        entered, leave = asyncio.Event(), asyncio.Event()

        async def row() -> None:
            async with self.cache.acquire("acme", self.backbone, ref) as slot:
                entered.set()
                await leave.wait()
                assert not loaded(slot).closed

        task = asyncio.create_task(row())
        await entered.wait()

        async def go() -> None:
            leave.set()
            await task

        yield go
        await go()

    def metric(self, name: str) -> float:
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        (line,) = (line for line in lines if line.startswith(f"trunkline_{name} "))
        return float(line.rpartition(" ")[2])


class WatchedCounter:
    """A counter that a test can wait for."""

    def __init__(self, changes: Changes) -> None:
        self.count = 0
        self._changes = changes

    def inc(self) -> None:
        self.count += 1
        self._changes.notify()


def loaded(slot: TailSlot) -> TinyTail:
    assert isinstance(slot.tail, TinyTail)
    return slot.tail


def shift(slot: TailSlot) -> float:
    return float(loaded(slot).shift[0])


@pytest.fixture
async def tails() -> AsyncIterator[TailSetup]:
    made = TailSetup()
    yield made
    made.go.set()
    await made.cache.drop(made.backbone)
    await made.cache.close()
    assert all(tail.closed for tail in made.backbone.tails)
    assert made.metric("tail_cache_bytes") == 0


async def test_tail_is_read_once_and_then_taken_from_memory(tails: TailSetup) -> None:
    assert [await tails.use(tails.tail(1)) for _ in range(3)] == [1, 1, 1]
    assert len(tails.reads) == 1
    assert tails.metric("tail_cache_bytes") == SIZE


async def test_rows_that_want_the_same_cold_tail_load_it_once(tails: TailSetup) -> None:
    tails.go.clear()
    rows = [asyncio.create_task(tails.use(tails.tail(1), tenant)) for tenant in "abc"]
    await tails.changes.until(lambda: len(tails.reads) == 1)
    tails.go.set()
    assert await asyncio.gather(*rows) == [1, 1, 1]
    assert len(tails.backbone.tails) == 1


async def test_least_recently_used_tail_goes_first_and_its_memory_with_it(tails: TailSetup) -> None:
    for number in (1, 2, 1, 3):
        await tails.use(tails.tail(number))
    assert [(tail.shift[0], tail.closed) for tail in tails.backbone.tails] == [
        (1, False),
        (2, True),
        (3, False),
    ]
    assert tails.metric("tail_evictions_total") == 1
    assert tails.metric("tail_cache_bytes") == 2 * SIZE


async def test_tail_in_use_is_kept_although_others_were_used_later(tails: TailSetup) -> None:
    async with tails.using(tails.tail(1)):
        for number in (2, 3, 4):
            await tails.use(tails.tail(number))
        assert not tails.backbone.tails[0].closed
        assert tails.metric("tail_cache_bytes") == 2 * SIZE


async def test_row_waits_for_room_and_no_new_rows_come_between(
    tails: TailSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    evictions = WatchedCounter(tails.changes)
    monkeypatch.setattr(tails.metrics, "tail_evictions", evictions)
    async with tails.using(tails.tail(1)) as leave_first, tails.using(tails.tail(2)):
        late = asyncio.create_task(tails.use(tails.tail(3), "bolt"))
        await tails.changes.until(lambda: evictions.count == 1)
        again = asyncio.create_task(tails.use(tails.tail(1)))
        await asyncio.sleep(0)
        assert not late.done()
        await leave_first()
        assert await late == 3
        assert await again == 1  # behind the other: it had to be loaded anew
    assert len(tails.reads) == 4


async def test_batch_keeps_a_tail_whose_rows_have_left(tails: TailSetup) -> None:
    async with tails.cache.acquire("acme", tails.backbone, tails.tail(1)) as slot:
        batch = tails.cache.pin([slot])
        batch.__enter__()
    for number in (2, 3):
        async with tails.using(tails.tail(number)):
            pass
    async with tails.using(tails.tail(2)):
        late = asyncio.create_task(tails.use(tails.tail(3)))
        await asyncio.sleep(0)
        assert not loaded(slot).closed
        batch.__exit__(None, None, None)
        assert await late == 3


async def test_large_tail_drives_several_out(tails: TailSetup) -> None:
    await tails.use(tails.tail(1))
    async with tails.using(tails.tail(2)):
        large = asyncio.create_task(tails.use(tails.ref(tail_file(3, extra=SIZE // 8))))
        await tails.changes.until(lambda: len(tails.reads) == 3)
    assert await large == 3
    assert [tail.closed for tail in tails.backbone.tails] == [True, True, False]


async def test_tail_larger_than_the_cache_is_refused_and_its_memory_given_back(
    tails: TailSetup,
) -> None:
    tails.cache = TailCache(SIZE - 1, tails.metrics)
    with pytest.raises(PreconditionFailed) as caught:
        await tails.use(tails.tail(1))
    assert (caught.value.field, caught.value.limit, caught.value.value) == ("tail", SIZE - 1, SIZE)
    assert tails.backbone.tails[0].closed
    await tails.cache.close()


async def test_file_that_cannot_be_read_says_so_and_is_tried_again_by_the_next(
    tails: TailSetup,
) -> None:
    data = tail_file(1)
    with pytest.raises(NotFound, match="gone"):
        await tails.use(tails.ref(data, NotFound("gone")))
    with pytest.raises(BackboneFailed, match=r"cannot be loaded$"):
        await tails.use(tails.ref(data, OSError("secret path")))
    assert await tails.use(tails.ref(data)) == 1


@pytest.mark.parametrize("data", [b"no tail", tail_file(1, fingerprint="0" * 64)])
async def test_file_that_is_no_tail_of_the_backbone_says_so(tails: TailSetup, data: bytes) -> None:
    with pytest.raises(BackboneFailed, match=r"cannot be loaded: .*tail"):
        await tails.use(tails.ref(data))


async def test_file_of_another_tail_is_refused(tails: TailSetup) -> None:
    async def other() -> bytes:
        return tail_file(2)

    ref = TailRef(tail_fingerprint(tail_file(1)), other)
    with pytest.raises(BackboneFailed) as caught:
        await tails.use(ref)
    assert caught.value.limit == ref.fingerprint
    assert tails.backbone.tails[0].closed


async def test_failing_load_fails_only_who_waits_for_it(tails: TailSetup) -> None:
    tails.go.clear()
    bad = asyncio.create_task(tails.use(tails.ref(tail_file(1), NotFound("gone"))))
    good = asyncio.create_task(tails.use(tails.tail(2), "bolt"))
    await tails.changes.until(lambda: len(tails.reads) == 1)
    tails.go.set()
    assert await good == 2
    with pytest.raises(NotFound):
        await bad


async def test_tenants_take_turns_with_loads(tails: TailSetup) -> None:
    tails.go.clear()
    many = [asyncio.create_task(tails.use(tails.tail(number))) for number in range(10)]
    await tails.changes.until(lambda: len(tails.reads) == 1)
    one = asyncio.create_task(tails.use(tails.tail(99), "bolt"))
    await asyncio.sleep(0)
    tails.go.set()
    assert await one == 99
    await asyncio.gather(*many)
    assert tails.reads.index(tails.tail(99).fingerprint) <= 2


@pytest.mark.parametrize("what", ["reading", "opening"])
async def test_load_that_takes_long_delays_no_others(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tails, go_on = TailSetup(tails=9, loads_at_once=4), asyncio.Event()
    load_tail, opened = tails.backbone.load_tail, threading.Event()

    async def read_slowly() -> bytes:
        await go_on.wait()
        return tail_file(1)

    def open_slowly(data: bytes) -> LoadedTail:
        if data == tail_file(1):
            assert opened.wait(60)
        return load_tail(data)

    slow = tails.tail(1)
    if what == "reading":
        slow = TailRef(slow.fingerprint, read_slowly)
    monkeypatch.setattr(tails.backbone, "load_tail", open_slowly)
    late = [asyncio.create_task(tails.use(slow, tenant)) for tenant in "ab"]
    await asyncio.sleep(0)
    others = [await tails.use(tails.tail(number)) for number in range(2, 8)]
    assert others == [2, 3, 4, 5, 6, 7]
    assert not any(row.done() for row in late)
    go_on.set()
    opened.set()
    assert await asyncio.gather(*late) == [1, 1]
    await tails.cache.drop(tails.backbone)
    await tails.cache.close()


@given(
    tails=st.integers(1, 3),
    wanted=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=20),
)
@settings(max_examples=30)
def test_loads_at_once_end_for_all_rows_also_where_few_tails_fit(
    tails: int, wanted: list[tuple[str, int]]
) -> None:
    async def use_all() -> None:
        made = TailSetup(tails, loads_at_once=4)
        rows = (made.use(made.tail(number), tenant) for tenant, number in wanted)
        assert await asyncio.gather(*rows) == [number for _, number in wanted]
        await made.cache.drop(made.backbone)
        assert made.metric("tail_cache_bytes") == 0
        await made.cache.close()

    asyncio.run(use_all())


async def test_tail_that_nobody_waits_for_any_more_is_not_loaded(tails: TailSetup) -> None:
    tails.go.clear()
    first = asyncio.create_task(tails.use(tails.tail(1)))
    await tails.changes.until(lambda: len(tails.reads) == 1)
    gone = asyncio.create_task(tails.use(tails.tail(2)))
    await asyncio.sleep(0)
    for row in (gone, first):
        row.cancel()
    await asyncio.gather(gone, first, return_exceptions=True)
    tails.go.set()
    assert await tails.use(tails.tail(3)) == 3
    # The one whose load was under way is closed again; the other was never read.
    assert [(tail.shift[0], tail.closed) for tail in tails.backbone.tails] == [
        (1, True),
        (3, False),
    ]
    assert tails.metric("tail_cache_bytes") == SIZE


async def test_row_that_comes_back_loads_a_tail_that_was_given_up(tails: TailSetup) -> None:
    tails.go.clear()
    first = asyncio.create_task(tails.use(tails.tail(1)))
    await tails.changes.until(lambda: len(tails.reads) == 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    again = asyncio.create_task(tails.use(tails.tail(1)))
    await asyncio.sleep(0)
    tails.go.set()
    assert await again == 1


async def test_tail_forgotten_before_its_load_begins_fails_those_who_waited_and_nobody_else(
    tails: TailSetup,
) -> None:
    tails.go.clear()
    first = asyncio.create_task(tails.use(tails.tail(1)))
    await tails.changes.until(lambda: len(tails.reads) == 1)
    waiting = asyncio.create_task(tails.use(tails.tail(2)))
    await asyncio.sleep(0)
    tails.cache.forget(tails.tail(2).fingerprint)
    again = asyncio.create_task(tails.use(tails.tail(2), "bolt"))
    await asyncio.sleep(0)
    tails.go.set()
    with pytest.raises(PreconditionFailed, match="forgotten"):
        await waiting
    assert (await first, await again) == (1, 2)
    assert len(tails.backbone.tails) == 2


async def test_loaded_tail_is_not_given_to_rows_of_another_backbone(tails: TailSetup) -> None:
    await tails.use(tails.tail(1))
    other = TinyBackbone("tiny/other")
    other.fingerprint = "0" * 64
    with pytest.raises(PreconditionFailed, match="is one of tiny/text"):
        async with tails.cache.acquire("acme", other, tails.tail(1)):
            pass
    assert await tails.use(tails.tail(1)) == 1


async def test_dropping_a_backbone_waits_for_its_rows_and_fails_those_without_a_tail(
    tails: TailSetup,
) -> None:
    async with tails.using(tails.tail(1)) as leave:
        tails.go.clear()
        waiting = asyncio.create_task(tails.use(tails.tail(2)))
        await tails.changes.until(lambda: len(tails.reads) == 2)
        drop = asyncio.create_task(tails.cache.drop(tails.backbone))
        await asyncio.sleep(0)
        tails.go.set()
        with pytest.raises(PreconditionFailed, match="unloaded"):
            await waiting
        assert not drop.done()
        await leave()
        await drop
    assert all(tail.closed for tail in tails.backbone.tails)


async def test_dropping_a_backbone_waits_for_a_load_that_nobody_waits_for_any_more(
    tails: TailSetup,
) -> None:
    tails.go.clear()
    row = asyncio.create_task(tails.use(tails.tail(1)))
    await tails.changes.until(lambda: len(tails.reads) == 1)
    row.cancel()
    await asyncio.gather(row, return_exceptions=True)
    drop = asyncio.create_task(tails.cache.drop(tails.backbone))
    await asyncio.sleep(0)
    assert not drop.done()
    tails.go.set()
    await drop
    assert [tail.closed for tail in tails.backbone.tails] == [True]
