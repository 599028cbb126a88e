"""Decoding: what is slow holds up nobody else, and what nobody waits for is not begun."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from service.concurrency.demand import Demand, Waiter
from service.errors import DeadlineExceeded
from service.extraction.decoding import (
    DECODE_ROWS,
    SLOW_NS,
    DecodeCalls,
    DecodeQueue,
    DecodeThreads,
)
from service.metrics import DecodeObserver, Metrics
from tests.service.waiting import Changes

QUICK, SLOW = 1_000, SLOW_NS + 1


class Decoder:
    """Decodes when the test lets it, and knows what it has begun and how much at once."""

    def __init__(self, threads: int, queues: int = 1) -> None:
        self.threads = DecodeThreads(threads)
        self.changes = Changes()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.most = 0
        self.held: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self.queues = [
            DecodeQueue(self._decode, self.threads, DecodeObserver(Metrics(1), "tiny"))
            for _ in range(queues)
        ]

    def _decode(self, name: str) -> str:
        with self._lock:
            self.begun.append(name)
            self.most = max(self.most, len(self.begun) - len(self.ended))
        self._loop.call_soon_threadsafe(self.changes.notify)
        if name in self.held:
            assert self.held[name].wait(60)
        with self._lock:
            self.ended.append(name)
        return name

    def hold(self, *names: str) -> None:
        self.held |= {name: threading.Event() for name in names}

    def release(self, *names: str) -> None:
        for name in names or list(self.held):
            self.held[name].set()

    def submit(
        self,
        name: str,
        cost: int,
        tenant: str = "",
        *,
        queue: int = 0,
        deadline: float | None = None,
        demand: Demand | None = None,
    ) -> asyncio.Task[str]:
        row = self.queues[queue].submit(
            tenant or name[0], name, cost=cost, deadline=deadline, demand=demand
        )
        return asyncio.create_task(row)

    async def until_begun(self, *names: str) -> None:
        await self.changes.until(lambda: set(names) <= set(self.begun))

    async def until_at_work(self, count: int) -> None:
        await self.changes.until(lambda: len(self.begun) - len(self.ended) == count)

    async def close(self) -> None:
        self.release()
        for queue in self.queues:
            await queue.close()
        self.threads.close()


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    made = Decoder(1, queues=2)
    yield made
    await made.close()


async def test_slow_rows_hold_no_thread_that_other_rows_need(decoder: Decoder) -> None:
    decoder.hold("a1")
    slow = [decoder.submit(f"a{i}", SLOW) for i in (1, 2, 3)]
    await decoder.until_begun("a1")
    for i in range(2 * DECODE_ROWS):
        assert await decoder.submit(f"b{i}", QUICK) == f"b{i}"
    assert not any(row.done() for row in slow)
    decoder.release()
    assert await asyncio.gather(*slow) == ["a1", "a2", "a3"]


async def test_another_tenants_slow_row_is_next_after_the_one_that_is_being_decoded(
    decoder: Decoder,
) -> None:
    decoder.hold("a1")
    rows = [decoder.submit(f"a{i}", SLOW * 3) for i in (1, 2, 3)]
    await decoder.until_begun("a1")
    rows.append(decoder.submit("b1", SLOW))
    await asyncio.sleep(0)
    decoder.release()
    await asyncio.gather(*rows)
    assert decoder.begun == ["a1", "b1", "a2", "a3"]


async def test_one_slow_row_is_decoded_at_a_time_whichever_backbone_it_is_for(
    decoder: Decoder,
) -> None:
    decoder.hold("a1", "b1")
    rows = [decoder.submit("a1", SLOW), decoder.submit("b1", SLOW, queue=1)]
    await decoder.changes.until(lambda: bool(decoder.begun))
    assert await decoder.submit("c1", QUICK, queue=1) == "c1"
    assert len(decoder.begun) - len(decoder.ended) == 1
    decoder.release()
    assert await asyncio.gather(*rows) == ["a1", "b1"]


async def test_rows_that_a_thread_takes_at_once_are_not_slow_together(decoder: Decoder) -> None:
    """Another tenant's row is next after a dear one, not after four of them."""
    decoder.hold("a1")
    rows = [decoder.submit(f"a{i}", SLOW_NS) for i in (1, 2, 3)]
    await decoder.until_begun("a1")
    rows.append(decoder.submit("b1", QUICK))
    await asyncio.sleep(0)
    decoder.release()
    await asyncio.gather(*rows)
    assert decoder.begun == ["a1", "b1", "a2", "a3"]


@pytest.mark.parametrize("cost", [SLOW_NS - 1, SLOW_NS, SLOW_NS + 1, 1 << 62])
async def test_row_of_any_cost_is_decoded(decoder: Decoder, cost: int) -> None:
    assert await decoder.submit("a", cost) == "a"


@pytest.mark.parametrize("cost", [QUICK, SLOW])
async def test_row_that_nobody_waits_for_any_more_is_not_decoded(
    decoder: Decoder, cost: int
) -> None:
    decoder.hold("a1")
    first = decoder.submit("a1", cost)
    await decoder.until_begun("a1")
    gone = [decoder.submit(f"b{i}", cost) for i in range(3)]
    stays = decoder.submit("c1", cost)
    await asyncio.sleep(0)
    for row in gone:
        row.cancel()
    decoder.release()
    assert list(await asyncio.gather(first, stays)) == ["a1", "c1"]
    assert decoder.begun == ["a1", "c1"]


async def test_row_is_not_decoded_whose_caller_leaves_while_a_thread_has_it(
    decoder: Decoder,
) -> None:
    decoder.hold("a0", "a1")
    rows = [decoder.submit("a0", QUICK)]
    await decoder.until_begun("a0")
    rows += [decoder.submit(f"a{i}", QUICK) for i in (1, 2, 3)]
    await asyncio.sleep(0)
    decoder.release("a0")
    await decoder.until_begun("a1")  # the thread has all three
    rows[2].cancel()
    await asyncio.gather(rows[2], return_exceptions=True)
    decoder.release("a1")
    assert list(await asyncio.gather(rows[0], rows[1], rows[3])) == ["a0", "a1", "a3"]
    assert decoder.begun == ["a0", "a1", "a3"]


async def test_row_is_not_decoded_whose_deadline_passes_while_the_row_before_it_is(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    real, later = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + later)
    decoder.hold("a0", "a1")
    rows = [decoder.submit("a0", QUICK)]
    await decoder.until_begun("a0")
    rows += [decoder.submit("a1", QUICK), decoder.submit("a2", QUICK, deadline=real() + 1000)]
    await asyncio.sleep(0)
    decoder.release("a0")
    await decoder.until_begun("a1")  # the thread has both
    later = 2000.0
    decoder.release("a1")
    assert await asyncio.gather(*rows[:2]) == ["a0", "a1"]
    with pytest.raises(DeadlineExceeded):
        await rows[2]
    assert decoder.begun == ["a0", "a1"]


async def test_row_that_is_late_behind_another_in_its_thread_takes_its_request_along(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    real, later = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + later)
    waiter = Waiter(real() + 1000)
    late = [Demand(waiter) for _ in range(3)]
    decoder.hold("a0", "a1", "s0")
    rows = [decoder.submit("a0", QUICK), decoder.submit("s0", SLOW)]
    await decoder.until_begun("a0", "s0")
    rows += [decoder.submit("a1", QUICK), decoder.submit("a2", QUICK, demand=late[0])]
    rows += [decoder.submit("s1", SLOW, demand=demand) for demand in late[1:]]
    await asyncio.sleep(0)
    decoder.release("a0")
    await decoder.until_begun("a1")  # the thread has both
    later = 2000.0
    decoder.release("a1")
    for row in rows[3:]:
        with pytest.raises(DeadlineExceeded):
            # Those in the other queue, too, where none is at its turn: so it does not wait.
            await asyncio.wait_for(row, 60)
    decoder.release()
    assert await asyncio.gather(*rows[:3]) == ["a0", "s0", "a1"]
    assert set(decoder.begun) == {"a0", "s0", "a1"}


@pytest.mark.parametrize("cost", [QUICK, SLOW])
async def test_row_whose_deadline_passed_in_the_queue_is_not_decoded(
    decoder: Decoder, cost: int
) -> None:
    with pytest.raises(DeadlineExceeded):
        await decoder.submit("a", cost, deadline=asyncio.get_running_loop().time())
    assert decoder.begun == []


async def test_rows_that_time_out_keep_their_threads_until_they_are_decoded() -> None:
    """Else every one that times out would let one more begin beside it."""
    decoder = Decoder(2)
    decoder.hold(*(f"{tenant}{i}" for tenant in "abcd" for i in range(20)))
    try:
        for tenant, cost, at_work in (
            ("a", QUICK, 2),
            ("b", SLOW, 3),
            ("c", QUICK, 3),
            ("d", SLOW, 3),
        ):
            rows = [decoder.submit(f"{tenant}{i}", cost) for i in range(20)]
            await asyncio.sleep(0)
            await decoder.until_at_work(at_work)
            for row in rows:
                row.cancel()
            await asyncio.wait(rows)
            assert all(row.cancelled() for row in rows)
        late = [decoder.submit("e0", QUICK), decoder.submit("f0", SLOW)]
        await asyncio.sleep(0)
        assert not any(row.done() for row in late)
        decoder.release()
        assert await asyncio.gather(*late) == ["e0", "f0"]
        assert decoder.most == 3
        assert len(decoder.begun) == 3 + len(late)
    finally:
        await decoder.close()


async def test_error_of_decoding_is_its_rows_own(decoder: Decoder) -> None:
    calls = DecodeCalls(decoder.threads, Metrics(1))

    def broken() -> str:
        raise ValueError("broken")

    run = [
        calls.run("a", function, cost=QUICK, deadline=None)
        for function in (lambda: "1", broken, lambda: "3")
    ]
    one, error, three = await asyncio.gather(*run, return_exceptions=True)
    await calls.close()
    assert (one, three) == ("1", "3")
    assert isinstance(error, ValueError)
