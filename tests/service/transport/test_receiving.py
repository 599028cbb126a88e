"""What requests may hold while they arrive, and who is refused when that is all taken."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import QueueFull, RequestTimeout
from service.transport import receiving
from service.transport.receiving import LARGE_BYTES, LATE_SHARE, Receipt, ReceivingBudget

MOST = 1000


async def never() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has to be waited for is late."""
    monkeypatch.setattr(receiving, "PROMPT_SECONDS", 0.0)


async def stalled(budget: ReceivingBudget, nbytes: int) -> None:
    """A request that announces so much and never sends it."""
    receipt = budget.open()
    try:
        await receipt.take(nbytes)
        await receipt.wait(never)
    finally:
        receipt.close()


async def test_stalled_requests_leave_room_for_one_that_is_sent_at_once(at_once: None) -> None:
    budget = ReceivingBudget(MOST, 3600)
    tasks = [asyncio.create_task(stalled(budget, 100)) for _ in range(10)]
    late = int(MOST * LATE_SHARE) // 100
    await asyncio.sleep(0)
    assert budget.held == MOST
    polite = budget.open()
    await polite.take(200)  # which all ten, while they are young, have no room for
    refused = [task for task in tasks if task.done()]
    assert len(refused) >= 2
    for task in refused:
        with pytest.raises(QueueFull, match="max_receiving_bytes") as caught:
            await task
        assert caught.value.retry_after is not None
        assert caught.value.limit == MOST
    assert budget.late <= late * 100
    polite.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (budget.held, budget.late) == (0, 0)


async def test_request_that_does_not_end_is_refused_with_its_limit(at_once: None) -> None:
    with pytest.raises(RequestTimeout) as caught:
        await stalled(ReceivingBudget(MOST, 0.01), 100)
    assert caught.value.limit == 0.01
    assert "body_timeout_seconds" in caught.value.message


async def test_late_request_that_wants_more_than_its_share_is_refused(at_once: None) -> None:
    budget = ReceivingBudget(MOST, 3600)
    receipt = budget.open()
    await receipt.take(500)
    await receipt.wait(lambda: asyncio.sleep(0.01))
    with pytest.raises(QueueFull):
        await receipt.take(400)
    receipt.close()
    assert (budget.held, budget.late) == (0, 0)


async def test_requests_wait_for_room_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 3600)
    budget = ReceivingBudget(MOST, 3600)
    first, large, small = budget.open(), budget.open(), budget.open()
    await first.take(600)
    order: list[str] = []

    async def take(receipt: Receipt, nbytes: int, name: str) -> None:
        await receipt.take(nbytes)
        order.append(name)
        receipt.close()

    tasks = [
        asyncio.create_task(take(large, 900, "large")),
        asyncio.create_task(take(small, 100, "small")),
    ]
    await asyncio.sleep(0)
    assert not order, "the small one would fit, but it came later"
    first.close()
    await asyncio.gather(*tasks)
    assert order == ["large", "small"]


async def test_connection_with_many_requests_delays_another_by_one_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 3600)
    budget = ReceivingBudget(MOST, 3600)
    holder = budget.open()
    await holder.take(MOST)
    order: list[str] = []

    async def take(connection: str) -> None:
        receipt = budget.open(connection)
        await receipt.take(MOST)
        order.append(connection)
        receipt.close()

    tasks = [asyncio.create_task(take("busy")) for _ in range(20)]
    tasks.append(asyncio.create_task(take("polite")))
    await asyncio.sleep(0)
    holder.close()
    await asyncio.gather(*tasks)
    assert order == ["busy", "polite", *["busy"] * 19]
    assert budget.held == 0


async def test_request_that_finds_no_room_in_time_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 0.01)
    budget = ReceivingBudget(MOST, 3600)
    holder = budget.open()
    await holder.take(MOST)
    with pytest.raises(QueueFull) as caught:
        await budget.open().take(1)
    assert caught.value.retry_after
    holder.close()
    assert budget.held == 0


async def test_end_of_each_large_request_is_told_whatever_others_hold() -> None:
    told: list[int] = []
    budget = ReceivingBudget(10 * LARGE_BYTES, 3600, told.append)
    watch = budget.open()
    await watch.take(100)
    for sizes in ([100], [LARGE_BYTES, 2 * LARGE_BYTES, 100], [100]):
        receipts = [budget.open() for _ in sizes]
        for receipt, size in zip(receipts, sizes, strict=True):
            await receipt.take(size)
        for receipt in receipts:
            receipt.close()
    watch.close()
    assert told == [LARGE_BYTES, 2 * LARGE_BYTES]


async def test_memory_of_large_requests_is_told_although_somebody_watches() -> None:
    told: list[int] = []
    budget = ReceivingBudget(10 * LARGE_BYTES, 3600, told.append)
    watch, large = budget.open(), budget.open()
    await watch.take(100)
    await large.take(LARGE_BYTES)
    large.close()
    assert told == [LARGE_BYTES]
    watch.close()
    assert told == [LARGE_BYTES]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, MOST), st.integers(0, 2), st.booleans()), max_size=12))
def test_budget_is_never_exceeded_and_comes_back_whole(
    requests: list[tuple[int, int, bool]],
) -> None:
    async def one(budget: ReceivingBudget, nbytes: int, turns: int) -> None:
        receipt = budget.open()
        try:
            await receipt.take(nbytes)
            assert budget.held <= MOST
            for _ in range(turns):
                await receipt.wait(lambda: asyncio.sleep(0))
            receipt.give_back(nbytes // 2)
            receipt.complete()
        finally:
            receipt.close()

    async def law() -> None:
        budget = ReceivingBudget(MOST, 3600)
        tasks = [asyncio.create_task(one(budget, nbytes, turns)) for nbytes, turns, _ in requests]
        await asyncio.sleep(0)
        for task, (_, _, cancelled) in zip(tasks, requests, strict=True):
            if cancelled:
                task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        assert (budget.held, budget.late) == (0, 0)

    asyncio.run(law())


async def test_connections_whose_requests_never_come_have_their_turn_behind_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 3600)
    monkeypatch.setattr(receiving, "PROMPT_SECONDS", 0.0)
    budget = ReceivingBudget(MOST, 3600)
    for name in ("silent", "gone"):  # one is late; one leaves before it is
        receipt = budget.open(name)
        await receipt.take(100)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01 if name == "silent" else 0):
                await receipt.wait(never)
        receipt.close()
    holder = budget.open()
    await holder.take(MOST)
    order: list[str] = []

    async def ask(connection: str) -> None:
        receipt = budget.open(connection)
        await receipt.take(MOST)
        order.append(connection)
        monkeypatch.setattr(receiving, "PROMPT_SECONDS", 3600.0)
        await receipt.wait(lambda: asyncio.sleep(0))
        receipt.complete()
        receipt.close()

    names = ["silent", "gone", "new", "other"]
    tasks = [asyncio.create_task(ask(name)) for name in names]
    await asyncio.sleep(0)
    holder.close()
    await asyncio.gather(*tasks)
    assert order == ["new", "other", "silent", "gone"]
    holder = budget.open()
    await holder.take(MOST)
    again = [asyncio.create_task(ask(name)) for name in ("silent", "other")]
    await asyncio.sleep(0)
    holder.close()
    await asyncio.gather(*again)
    assert order[4:] == ["silent", "other"], "each was prompt when it was asked last"


async def test_request_of_which_nothing_has_come_is_late_sooner_while_others_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "PROMPT_SECONDS", 3600.0)
    monkeypatch.setattr(receiving, "HURRIED_SECONDS", 0.0)
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 3600)
    budget = ReceivingBudget(MOST, 3600)
    holder, silent, polite = budget.open(), budget.open("silent"), budget.open("polite")
    await holder.take(100)
    await silent.take(800)
    waits = asyncio.create_task(polite.take(800))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):  # it is more than late requests may hold
        async with asyncio.timeout(60):
            await silent.wait(never)
    silent.close()
    await waits
    for receipt in (holder, polite):
        receipt.close()
    assert budget.held == 0
