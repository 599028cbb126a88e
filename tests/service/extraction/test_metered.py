"""Rows are taken from quotas before they are begun, and given back if they are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from service.access.metering import Metering
from service.access.quotas import QuotaBook
from service.access.usage import UsageCounter
from service.concurrency.demand import Demand, Waiter
from service.concurrency.tasks import UninterruptedTasks
from service.errors import QueueFull, QuotaExceeded
from service.extraction.metered import MeteredExtractor
from service.requests.inputs import Kind, RawInput
from service.store import Database
from service.store.quotas import Quotas
from tests.service.hand_extractor import HandExtractor
from trunkline.digest import text_digest

BURST = 5.0


class Metered:
    """A metered extractor whose tenants may use 5 units, which hardly come in again."""

    def __init__(self, database: Database, hand: HandExtractor) -> None:
        self.book = QuotaBook(database, Quotas(0.001, BURST, 3), clock=lambda: 0.0)
        self.usage = UsageCounter(database, UninterruptedTasks(), 1)
        self.extractor = MeteredExtractor(hand, Metering(self.book, self.usage))
        self.hand = hand

    @property
    def left(self) -> float:
        limit = self.book.rate_limit("acme")
        assert limit is not None
        return limit.remaining

    async def embed(self, *texts: str) -> Sequence[object]:
        return await self.extractor.embed("acme", self.hand.info, raws(*texts))


def raws(*texts: str) -> list[RawInput]:
    return [RawInput(Kind.TEXT, text_digest(text), text) for text in texts]


@pytest.fixture
async def metered(database: Database) -> AsyncIterator[Metered]:
    made = Metered(database, HandExtractor())
    yield made
    await made.usage.close()


async def test_rows_that_the_queue_refuses_cost_nothing(metered: Metered) -> None:
    metered.hand.error = QueueFull("full", retry_after=1.0)
    with pytest.raises(QueueFull, match="full"):
        await metered.embed("a", "b")
    assert metered.left == BURST
    assert metered.usage.of("acme").rows == 0


async def test_row_that_fails_by_itself_costs_its_decoding_alone(metered: Metered) -> None:
    await metered.embed("bad")
    failed = BURST - metered.left
    await metered.embed("good")
    assert 0 < failed < BURST - metered.left - failed
    assert metered.usage.of("acme").rows == 2


async def test_admitted_rows_that_are_never_run_cost_nothing(metered: Metered) -> None:
    demands = [Demand(Waiter(), request="r")]
    admitted = metered.extractor.admit("acme", metered.hand.info, raws("a"), demands)
    assert metered.left < BURST
    admitted.close()
    assert metered.left == BURST


async def test_rows_in_flight_are_bounded_until_they_are_done(metered: Metered) -> None:
    metered.hand.go.clear()
    first = asyncio.create_task(metered.embed("a", "b"))
    await metered.hand.changes.until(lambda: bool(metered.hand.asked))
    with pytest.raises(QuotaExceeded, match="at most 3 of tenants/acme, would be 4") as refused:
        await metered.embed("c", "d")
    assert refused.value.retry_after
    other = asyncio.create_task(metered.extractor.embed("other", metered.hand.info, raws("c", "d")))
    metered.hand.go.set()
    await asyncio.gather(first, other)
    await metered.embed("c", "d")


async def test_more_rows_than_may_be_in_flight_are_let_in_where_none_is(metered: Metered) -> None:
    metered.hand.go.clear()
    first = asyncio.create_task(metered.embed("a", "b", "c", "d"))
    await metered.hand.changes.until(lambda: bool(metered.hand.asked))
    left = metered.left
    with pytest.raises(QuotaExceeded, match="would be 5"):
        await metered.embed("e")
    assert metered.left == left
    metered.hand.go.set()
    await first


async def test_what_is_called_off_under_way_is_paid_as_expected(metered: Metered) -> None:
    metered.hand.go.clear()
    first = asyncio.create_task(metered.embed("a"))
    await metered.hand.changes.until(lambda: bool(metered.hand.asked))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert metered.left < BURST
    assert metered.usage.of("acme").rows == 1
