"""Rows that are slow to decode: they hold up nobody else, and arrive in time or are refused."""

from __future__ import annotations

import asyncio

import pytest

from tests.service.extraction.overload_requests import (
    IMAGES,
    ask_now,
    on_site,
    texts_of,
)
from tests.service.extraction.overloads import (
    SLOW_LETTERS,
    Site,
)

pytestmark = pytest.mark.usefixtures("without_logs")


def slow_texts(count: int, name: str) -> list[str]:
    return texts_of(count, SLOW_LETTERS, name)


@pytest.mark.parametrize("tenant", ["acme", "other"])
def test_what_waits_to_be_decoded_apart_refuses_no_other_rows(tenant: str) -> None:
    async def test(site: Site) -> None:
        await asyncio.gather(*(site.ask("acme", texts_of(8, name=f"{i}-"), None) for i in range(8)))
        slow = await ask_now(site, "acme", slow_texts(30, "slow"), 60.0)
        await asyncio.sleep(2.5)  # of the 30 s that those take
        site.seen.outcomes.clear()
        for i in range(10):
            await site.ask(tenant, texts_of(8, name=f"quick{i}-"), 0.3)
        assert site.seen.outcomes == {"answered": 10}
        assert (await slow).outcome == "answered"

    on_site(IMAGES, test)


def test_slow_rows_that_would_be_late_are_refused_undecoded_and_admitted_when_told() -> None:
    async def test(site: Site) -> None:
        waiting = await ask_now(site, "acme", slow_texts(10, "slow"), 60.0)
        await asyncio.sleep(2.5)
        mixed = [*texts_of(4, name="late-quick"), *slow_texts(1, "late-slow")]
        answer = await site.ask("acme", mixed, 3.0)
        assert answer.outcome == "refused"
        assert answer.hint is not None
        assert 2.0 < answer.hint < 30.0  # 7.5 s of decoding are ahead
        assert not any(text.startswith("late") for text in site.decoded)
        await asyncio.sleep(answer.hint)
        assert (await site.ask("acme", mixed, 3.0)).outcome == "answered"
        assert (await waiting).outcome == "answered"

    on_site(IMAGES, test)


def test_slow_row_that_has_become_too_late_takes_its_request_along() -> None:
    async def test(site: Site) -> None:
        # Nothing is known of the pace yet, so all are admitted; the slow ones come too late.
        first = await ask_now(site, "acme", slow_texts(3, "slow"), None)
        late = await ask_now(site, "acme", slow_texts(5, "late-"), 4.5)
        assert (await late).outcome == "dropped"
        assert (await first).outcome == "answered"
        assert not any(text.startswith("late-") for text in site.decoded)

    on_site(IMAGES, test)


def test_quick_rows_are_not_decoded_whose_request_has_a_slow_row_that_will_be_late() -> None:
    async def test(site: Site) -> None:
        # The pace of slow ones is known after the first, and before it is the quick ones' turn.
        many = await ask_now(site, "acme", texts_of(130, name="first-"), None)
        mixed = [*texts_of(4, name="late-quick"), *slow_texts(4, "late-slow")]
        late = await ask_now(site, "acme", mixed, 2.5)
        assert (await late).outcome == "dropped"
        assert (await many).outcome == "answered"
        assert not any(text.startswith("late-quick") for text in site.decoded)

    on_site(IMAGES, test)


def test_slow_rows_under_overload_arrive_in_time_if_they_are_decoded() -> None:
    async def test(site: Site) -> None:
        asked = []
        for i in range(40):  # twice what can be decoded
            asked.append(await ask_now(site, f"t{i % 3}", slow_texts(1, f"slow{i}-"), 3.0))
            await asyncio.sleep(0.5)
        await asyncio.gather(*asked)
        decoded = sum(text.startswith("slow") for text in site.decoded)
        assert site.seen.answered >= 15, site.seen
        assert site.seen.answered >= 0.9 * decoded, site.seen
        assert site.seen.outcomes["refused"] > site.seen.outcomes["dropped"], site.seen

    on_site(IMAGES, test)
