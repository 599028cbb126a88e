"""Overload: what is computed arrives in time, the rest is refused at once, and hints hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tails import tail_fingerprint
from service.embedding.resolver import EmbeddingResolver
from service.extraction import TailRef
from service.metrics import Metrics
from tests.service.extraction.overload_requests import (
    IMAGES,
    ask_now,
    on_site,
    texts_of,
)
from tests.service.extraction.overloads import (
    Answer,
    Load,
    Machine,
    Seen,
    Site,
    overload,
)
from tests.service.tiny_backbone import tail_file

pytestmark = pytest.mark.usefixtures("without_logs")

TEXTS = Machine(max_rows=16, start=0.01, row=0.004, decode=0.0005)
LETTERS = Machine(start=0.004, row=0.001, letter=0.0005, decode=0.0005, noise=0.0)
"""A text of one letter takes 2.5 ms of a pass, one of 200 letters 102 ms."""


def check(machine: Machine, load: Load, useful: float) -> Seen:
    seen = overload(machine, load)
    assert seen.answered >= 0.95 * seen.computed, seen
    assert seen.useful >= useful * machine.capacity * load.seconds, seen
    return seen


@pytest.mark.parametrize("tenants", [1, 30])
@pytest.mark.parametrize("times", [1.5, 3.0])
@pytest.mark.parametrize("machine", [IMAGES, TEXTS], ids=["images", "texts"])
def test_capacity_is_used_for_what_arrives_in_time(
    machine: Machine, times: float, tenants: int
) -> None:
    seconds = 5.0 if machine is IMAGES else 1.5
    for deadline in (0.3, 1.0):
        load = Load(times, deadline, tenants=tenants, seconds=seconds, regular=True)
        check(machine, load, 0.9)


@pytest.mark.parametrize("times", [1.5, 3.0])
def test_capacity_is_used_by_requests_of_one_row(times: float) -> None:
    check(IMAGES, Load(times, 0.3, rows=1, seconds=4.0), 0.8)


def test_ten_times_the_capacity_is_refused_in_favour_of_what_arrives_in_time() -> None:
    seen = check(IMAGES, Load(10.0, 1.0, seconds=4.0), 0.9)
    assert seen.outcomes["refused"] > 6 * seen.outcomes["answered"]


@pytest.mark.long
@settings(max_examples=60)
@given(
    st.floats(1.5, 4.0),
    st.sampled_from([0.4, 1.0, 5.0]),
    st.sampled_from([1, 4, 50]),
    st.sampled_from([Machine(), Machine(passes=1, row=0.01), Machine(noise=0.4)]),
)
def test_whatever_comes_most_of_the_capacity_is_useful(
    times: float, deadline: float, tenants: int, machine: Machine
) -> None:
    # What comes by chance leaves a queue of three requests empty now and then.
    useful = 0.9 if deadline >= 1 else 0.75
    check(machine, Load(times, deadline, tenants=tenants, seconds=6.0), useful)


@pytest.mark.parametrize("tenants", [1, 30])
def test_who_comes_back_when_told_is_answered(tenants: int) -> None:
    back: Counter[str] = Counter()
    for deadline in (0.3, 1.0):
        for share in (0.2, 1.0):
            load = Load(1.5, deadline, tenants=tenants, back=share, seconds=5.0)
            back += check(IMAGES, load, 0.75).back
    assert back.total() > 40
    assert back["answered"] >= 0.9 * back.total(), back


def test_server_that_has_just_started_refuses_nothing_that_it_can_do() -> None:
    async def test(site: Site) -> None:
        requests = [texts_of(8, name=f"{i}-") for i in range(8)]  # 0.72 s of work
        await asyncio.gather(*(site.ask("acme", request, 1.0) for request in requests))
        assert site.seen.outcomes == {"answered": 8}

    on_site(IMAGES, test)


def test_pace_of_lone_rows_refuses_nothing_that_full_batches_can_do() -> None:
    async def test(site: Site) -> None:
        for i in range(20):
            await site.ask("acme", texts_of(1, name=f"lone{i}-"), 1.0)
        requests = [texts_of(8, name=f"{i}-") for i in range(8)]
        await asyncio.gather(*(site.ask("acme", request, 1.0) for request in requests))
        assert site.seen.outcomes == {"answered": 28}

    on_site(Machine(start=0.08, row=0.0025, noise=0.0), test)


def test_what_was_admitted_while_no_pace_was_known_is_dropped_before_it_is_computed() -> None:
    async def test(site: Site) -> None:
        requests = [texts_of(8, name=f"{i}-") for i in range(10)]
        await asyncio.gather(*(site.ask("acme", request, 1.0) for request in requests))
        # A pass takes 0.41 s: the third pair of passes would end at 1.23 s.
        assert (site.seen.answered, site.seen.computed) == (16, 16)

    on_site(Machine(row=0.1, noise=0.0), test)


@pytest.mark.parametrize(("first", "then", "requests"), [(1, 200, 4), (200, 1, 120)])
def test_change_of_the_inputs_size_refuses_nothing_that_can_be_done(
    first: int, then: int, requests: int
) -> None:
    async def test(site: Site) -> None:
        warm = [texts_of(8, first, f"{i}-") for i in range(20)]
        await asyncio.gather(*(site.ask("acme", request, 60.0) for request in warm))
        assert site.seen.outcomes == {"answered": 20}
        more = [texts_of(8, then, f"{i}+") for i in range(requests)]
        await asyncio.gather(*(site.ask("acme", request, 2.5) for request in more))
        assert site.seen.outcomes == {"answered": 20 + requests}

    on_site(LETTERS, test)


@pytest.mark.parametrize("rows", [1, 8])
def test_small_inputs_after_large_ones_are_admitted_though_they_fill_no_batch(rows: int) -> None:
    async def test(site: Site) -> None:
        warm = [texts_of(8, 200, f"{i}-") for i in range(20)]
        await asyncio.gather(*(site.ask("acme", request, 60.0) for request in warm))
        asked = []
        for i in range(60):  # half of the capacity
            asked.append(asyncio.create_task(site.ask("acme", texts_of(rows, name=f"{i}+"), 0.1)))
            await asyncio.sleep(rows * 0.004)
        await asyncio.gather(*asked)
        assert site.seen.outcomes == {"answered": 80}

    on_site(LETTERS, test)


def test_stall_of_a_pass_does_not_refuse_what_can_be_done_afterwards() -> None:
    async def test(site: Site) -> None:
        stalled = replace(IMAGES, row=5.0)
        for i, machine in enumerate([IMAGES, IMAGES, stalled, IMAGES, IMAGES, IMAGES]):
            site.machine = machine
            await site.ask("acme", texts_of(8, name=f"{i}-"), None)
        site.seen.outcomes.clear()
        await site.ask("acme", texts_of(8, name="after-"), 0.3)
        assert site.seen.outcomes == {"answered": 1}

    on_site(IMAGES, test)


def test_slow_times_that_are_over_do_not_keep_requests_out() -> None:
    async def test(site: Site) -> None:
        for i in range(6):  # ten times slower than what follows
            site.machine = replace(IMAGES, row=0.2)
            await site.ask("acme", texts_of(8, name=f"slow{i}-"), None)
        site.machine = IMAGES
        site.seen.outcomes.clear()
        for i in range(20):
            await site.ask("acme", texts_of(8, name=f"{i}-"), 0.3)
            await asyncio.sleep(0.1)
        assert site.seen.outcomes["answered"] >= 10, site.seen

    on_site(IMAGES, test)


def test_refused_rows_are_not_decoded_and_dropped_ones_not_computed() -> None:
    async def test(site: Site) -> None:
        site.decoded.clear()
        warm = asyncio.gather(
            *(site.ask("acme", texts_of(8, name=f"{i}-"), None) for i in range(12))
        )
        await asyncio.sleep(0.5)
        answer = await site.ask("acme", texts_of(8, name="no-"), 0.3)
        assert answer.outcome == "refused"
        assert answer.hint is not None
        assert not any(text.startswith("no-") for text in site.decoded)
        await warm

    on_site(IMAGES, test)


def test_when_one_row_is_too_late_its_siblings_are_not_computed_unless_others_wait() -> None:
    async def test(site: Site) -> None:
        # Nothing is known of the pace yet, so all are admitted; the last come too late.
        shared = "late-7"
        first = asyncio.create_task(site.ask("acme", texts_of(24, name="first-"), None))
        await asyncio.sleep(0.001)
        late = asyncio.create_task(site.ask("acme", texts_of(8, name="late-"), 0.3))
        await asyncio.sleep(0)
        other = asyncio.create_task(site.ask("acme", [shared], None))
        assert (await late).outcome in ("dropped", "late")
        assert [(await first).outcome, (await other).outcome] == ["answered"] * 2
        computed = [text for batch in site.backbone.batches for text in batch]
        assert [text for text in computed if text.startswith("late")] == [shared]

    on_site(IMAGES, test)


def test_row_that_several_wait_for_has_the_latest_deadline_and_is_computed_once() -> None:
    async def test(site: Site) -> None:
        first = asyncio.create_task(site.ask("acme", texts_of(24, name="first-"), None))
        await asyncio.sleep(0.001)
        short = asyncio.create_task(site.ask("acme", ["shared"], 0.2))
        await asyncio.sleep(0)
        long = asyncio.create_task(site.ask("acme", ["shared"], 5.0))
        assert (await short).outcome == "late"
        assert [(await first).outcome, (await long).outcome] == ["answered"] * 2
        computed = [text for batch in site.backbone.batches for text in batch]
        assert computed.count("shared") == 1

    on_site(IMAGES, test)


def test_refused_request_does_not_wait_for_the_rows_that_it_shares() -> None:
    async def test(site: Site) -> None:
        await asyncio.gather(*(site.ask("acme", texts_of(8, name=f"{i}-"), None) for i in range(8)))
        first = await ask_now(site, "acme", [*texts_of(200, name="first-"), "shared"], None)
        begun = site.loop.time()
        answer = await site.ask("acme", ["shared", "alone"], 1.5)
        assert (answer.outcome, site.loop.time()) == ("refused", begun)
        assert (await first).outcome == "answered"

    on_site(IMAGES, test)


async def fill(site: Site, name: str) -> list[asyncio.Task[Answer]]:
    """Sends requests until one is refused."""
    asked: list[asyncio.Task[Answer]] = []
    while True:
        asked.append(await ask_now(site, "acme", texts_of(8, name=f"{name}{len(asked)}-"), 1.0))
        if asked[-1].done() and asked[-1].result().outcome == "refused":
            return asked


@pytest.mark.parametrize("shared", ["cached", "in flight"])
def test_promise_holds_although_a_row_of_the_request_is_known_meanwhile(shared: str) -> None:
    async def test(site: Site) -> None:
        site.embeddings = EmbeddingResolver(site.extractor, None, 1 << 20, Metrics(5))
        await asyncio.gather(*(site.ask("acme", texts_of(8, name=f"{i}-"), None) for i in range(8)))
        before = await fill(site, "before")
        request = ["shared", *texts_of(15, name="mine-")]
        answer = await site.ask("acme", request, 1.0)
        assert answer.hint is not None
        known = await ask_now(site, "acme", ["shared"], None)
        await asyncio.sleep(answer.hint)
        if shared == "cached":
            await known
        assert known.done() == (shared == "cached")
        after = await fill(site, "after")
        assert (await site.ask("acme", request, 1.0)).outcome == "answered"
        await asyncio.gather(known, *before, *after)

    on_site(IMAGES, test)


def test_row_that_nobody_waits_for_any_more_is_not_begun_although_its_siblings_are() -> None:
    async def test(site: Site) -> None:
        first = asyncio.create_task(site.ask("acme", texts_of(24, name="first-"), None))
        await asyncio.sleep(0.001)
        gone = asyncio.create_task(site.ask("acme", ["alone", "shared"], None))
        await asyncio.sleep(0)
        stays = asyncio.create_task(site.ask("acme", ["shared"], None))
        await asyncio.sleep(0.01)
        gone.cancel()
        assert [(await first).outcome, (await stays).outcome] == ["answered"] * 2
        computed = [text for batch in site.backbone.batches for text in batch]
        assert computed.count("shared") == 1
        assert "alone" not in computed

    on_site(IMAGES, test)


def test_polite_tenant_is_admitted_beside_a_flood() -> None:
    async def test(site: Site) -> None:
        flood = [
            asyncio.create_task(site.ask("flood", texts_of(8, name=f"{i}-"), 5.0))
            for i in range(100)
        ]
        await asyncio.sleep(0.5)
        assert (await site.ask("flood", texts_of(8, name="more-"), 1.0)).outcome == "refused"
        assert (await site.ask("polite", texts_of(2, name="polite-"), 1.0)).outcome == "answered"
        await asyncio.gather(*flood)

    on_site(IMAGES, test)


@pytest.mark.parametrize(("machine", "seconds", "least"), [(TEXTS, 0.2, 9), (IMAGES, 0.3, 6)])
def test_polite_tenant_with_little_time_waits_for_one_turn_of_a_flood_and_not_for_all_of_it(
    machine: Machine, seconds: float, least: int
) -> None:
    async def test(site: Site) -> None:
        flood = [
            asyncio.create_task(site.ask("flood", texts_of(8, name=f"{i}-"), None))
            for i in range(int(3 * machine.capacity / 8))
        ]
        await asyncio.sleep(0.3)
        polite = [await site.ask("polite", [f"polite{i}"], seconds) for i in range(10)]
        assert not flood[-1].done()
        assert [answer.outcome for answer in polite].count("answered") >= least, polite
        await asyncio.gather(*flood)

    on_site(machine, test)


def test_who_was_dropped_beside_a_flood_is_answered_when_told() -> None:
    async def test(site: Site) -> None:
        flood = [
            asyncio.create_task(site.ask("flood", texts_of(16, name=f"{i}-"), None))
            for i in range(60)
        ]
        await asyncio.sleep(0.5)
        back: Counter[str] = Counter()
        for i in range(20):
            answer = await site.ask("polite", [f"polite{i}"], 0.28)
            if answer.hint is not None:
                await asyncio.sleep(answer.hint)
                back[(await site.ask("polite", [f"polite{i}"], 0.28)).outcome] += 1
        assert back.total() > 5
        assert back["answered"] >= 0.9 * back.total(), back
        await asyncio.gather(*flood)

    on_site(IMAGES, test)


@pytest.mark.parametrize("tenant", ["acme", "other"])
def test_what_waits_for_a_tail_that_hangs_refuses_nobody(tenant: str) -> None:
    hangs = asyncio.Event()
    data = tail_file(1.0)

    async def read() -> bytes:
        await hangs.wait()
        return data

    async def test(site: Site) -> None:
        await asyncio.gather(*(site.ask("acme", texts_of(8, name=f"{i}-"), None) for i in range(8)))
        tail = TailRef(tail_fingerprint(data), read)
        stuck = [
            asyncio.create_task(site.ask("acme", texts_of(8, name=f"tail{i}-"), 60.0, tail))
            for i in range(20)
        ]
        await asyncio.sleep(0.001)
        site.seen.outcomes.clear()
        for i in range(10):
            await site.ask(tenant, texts_of(8, name=f"quick{i}-"), 0.3)
        assert site.seen.outcomes == {"answered": 10}
        hangs.set()
        assert [(await task).outcome for task in stuck] == ["answered"] * 20

    on_site(IMAGES, test)
