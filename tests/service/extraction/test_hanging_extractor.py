"""An extraction server that hangs, or to which the way is cut: noticed, said, and over with."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.errors import Unavailable
from service.extraction import Extracted, remote_connection
from tests.service.extraction.far_extractor import Far, Link, Wire, connected
from tests.service.tiny_backbone import info, text_input

NEVER = 10_000.0


@asynccontextmanager
async def laid_way() -> AsyncIterator[tuple[Far, Wire, Link]]:
    """A server, the wire to it, and what uses it."""
    there = Far()
    async with there.serving() as port:
        wire = Wire(port)
        async with wire.laid() as near, connected(near) as link:
            yield there, wire, link


@pytest.fixture
async def way() -> AsyncIterator[tuple[Far, Wire, Link]]:
    async with laid_way() as made:
        yield made


async def embed(link: Link, text: str) -> Extracted | Exception:
    (found,) = await link.extractor.embed("acme", info(), [text_input(text)])
    return found


async def check_refused(link: Link) -> None:
    with pytest.raises(Unavailable, match="away") as caught:
        await embed(link, "new")
    assert caught.value.retry_after == 1.0


@pytest.mark.parametrize("kind", ["its handlers hang", "the way swallows all"])
async def test_server_that_never_answers_is_away_with_its_calls_and_is_back_when_it_goes_on(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_connection, "PROBE_SECONDS", 0.0)
    async with laid_way() as (there, wire, link):
        there.embeds.clear()
        waiting = asyncio.create_task(embed(link, "a"))
        await there.changes.until(lambda: there.asked == [["a"]])
        monkeypatch.setattr(remote_connection, "ANSWER_SECONDS", 0.1)
        under_way = there.checks
        await there.changes.until(lambda: there.checks > under_way + 1)
        if kind == "its handlers hang":
            there.answers.clear()
        else:
            wire.swallow(on=True)
        with pytest.raises(Unavailable, match="away") as caught:
            await waiting
        assert caught.value.retry_after == 1.0
        await link.until(ready=False)
        await check_refused(link)
        monkeypatch.setattr(remote_connection, "ANSWER_SECONDS", NEVER)
        there.answers.set()
        there.embeds.set()
        wire.swallow(on=False)
        await link.until(ready=True)
        assert isinstance(await embed(link, "b"), Extracted)


async def test_server_that_is_too_busy_for_a_check_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_connection, "PROBE_SECONDS", 0.0)
    async with laid_way() as (there, _, link):
        there.full = True
        before = there.checks
        await there.changes.until(lambda: there.checks > before + 2)
        assert link.extractor.ready
        assert isinstance(await embed(link, "a"), Extracted)


async def test_server_that_accepts_and_says_nothing_is_away_from_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # its kernel accepts
        link = Link(listener.getsockname()[1])
        await link.extractor.start(lambda _: link.changes.notify())
        assert not link.extractor.ready
        await check_refused(link)
        await link.extractor.close()


async def test_backbones_of_a_server_that_is_away_are_known_still(
    way: tuple[Far, Wire, Link],
) -> None:
    there, wire, link = way
    there.answers.clear()
    wire.cut()
    await link.until(ready=False)
    assert [one.name for one in link.extractor.backbones()] == ["tiny/text"]
    await check_refused(link)


@pytest.mark.parametrize("drops", [3, pytest.param(100, marks=pytest.mark.long)])
async def test_way_that_is_cut_under_load_brings_nothing_but_a_hint_and_answers_again(
    drops: int, way: tuple[Far, Wire, Link]
) -> None:
    _, wire, link = way
    names = (f"text {number}" for number in itertools.count())
    hints: list[float | None] = []
    answered = 0
    progress = asyncio.Event()
    done = False

    async def load() -> None:
        nonlocal answered
        while not done:
            try:
                assert isinstance(await embed(link, next(names)), Extracted)
            except Unavailable as error:
                hints.append(error.retry_after)
                await link.until(ready=True)
            else:
                answered += 1
                progress.set()

    users = [asyncio.create_task(load()) for _ in range(8)]
    for _ in range(drops):
        progress.clear()
        await progress.wait()
        wire.cut()
        await link.until(ready=False)
        await link.until(ready=True)
    done = True
    await asyncio.gather(*users)
    assert answered >= drops
    assert len(hints) >= drops
    assert None not in hints
