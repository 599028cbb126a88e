"""An extraction service behind a proxy that passes no streams on, and knows no health service."""

from __future__ import annotations

import asyncio
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest

from models.tails import tail_fingerprint
from service.errors import PreconditionFailed, QueueFull, Unavailable
from service.extraction import Extracted, TailRef, remote_connection
from service.extraction.remote import RemoteExtractor
from tests.service.extraction.far_extractor import Link, connected
from tests.service.extraction.proxied_extractor import Proxied
from tests.service.tiny_backbone import info, tail_file, text_input, vector_of


@asynccontextmanager
async def reached(servers: int = 1) -> AsyncIterator[tuple[Proxied, Link]]:
    """The servers, and what uses them and has heard from one."""
    there = Proxied(servers)
    async with there.serving() as port, connected(port) as link:
        yield there, link


@pytest.fixture
async def way(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Proxied, Link]]:
    monkeypatch.setattr(remote_connection, "PROBE_SECONDS", 0.0)
    async with reached() as made:
        yield made


async def embed(extractor: RemoteExtractor, text: str, tail: TailRef | None = None) -> list[float]:
    backbone = info() if tail is None else info().with_tail(tail)
    (found,) = await extractor.embed("acme", backbone, [text_input(text)])
    assert isinstance(found, Extracted)
    return [float(number) for number in found.vector]


def tail(shift: float, reads: list[float], extra: int = 0) -> TailRef:
    data = tail_file(shift, extra=extra)

    async def read() -> bytes:
        reads.append(shift)
        return data

    return TailRef(tail_fingerprint(data), read)


async def test_it_is_ready_and_embeds_without_health_or_streams(way: tuple[Proxied, Link]) -> None:
    _, link = way
    assert link.extractor.backbones() == (info(),)
    assert await embed(link.extractor, "a") == vector_of("a").tolist()
    assert link.readiness == [True]


async def test_it_is_asked_again_and_again_whether_its_backbones_are_ready(
    way: tuple[Proxied, Link],
) -> None:
    there, link = way
    there.ready = False
    await link.until(ready=False)
    there.ready = True
    await link.until(ready=True)


@pytest.mark.parametrize("code", ["INTERNAL", "UNKNOWN", "NOT_FOUND"])
async def test_proxy_without_a_server_behind_it_is_away_until_there_is_one(
    code: str, way: tuple[Proxied, Link]
) -> None:
    there, link = way
    there.says = grpc.StatusCode[code], "The actor died.\n" + "a trace\n" * 1000
    with pytest.raises(Unavailable, match="away") as caught:
        await embed(link.extractor, "a")
    assert caught.value.retry_after == 1.0
    await link.until(ready=False)
    there.says = None
    await link.until(ready=True)
    assert await embed(link.extractor, "a") == vector_of("a").tolist()


async def test_full_queue_of_the_proxy_is_told_with_a_time_and_is_no_outage(
    way: tuple[Proxied, Link],
) -> None:
    there, link = way
    there.says = grpc.StatusCode.RESOURCE_EXHAUSTED, "Request dropped due to backpressure"
    with pytest.raises(QueueFull, match="backpressure") as caught:
        await embed(link.extractor, "a")
    assert caught.value.retry_after == 1.0
    asked = there.checks
    await there.changes.until(lambda: there.checks > asked + 1)
    assert link.readiness == [True]


async def test_call_says_what_time_it_has_left(way: tuple[Proxied, Link]) -> None:
    there, link = way
    there.seconds_left.clear()
    deadline = asyncio.get_running_loop().time() + 5
    await link.extractor.embed("acme", info(), [text_input("a")], deadline=deadline)
    (left,) = there.seconds_left
    assert 0 < left <= 5


async def test_tail_goes_with_the_request_to_each_of_the_servers_that_lacks_it() -> None:
    reads: list[float] = []
    ref = tail(2.0, reads)
    async with reached(servers=3) as (there, link):
        for round in range(2):
            there.files.clear()
            for text in string.ascii_lowercase:
                expected = (vector_of(text) + np.float32(2)).tolist()
                assert await embed(link.extractor, text, ref) == pytest.approx(expected)
            assert all(ref.fingerprint in held for held in there.held)
            assert len(there.files) <= 6 * (1 - round), "it is sent while one lacks it"


async def test_requests_at_once_send_a_tail_once() -> None:
    reads: list[float] = []
    ref = tail(2.0, reads)
    async with reached() as (there, link):
        await asyncio.gather(*(embed(link.extractor, text, ref) for text in "abcdef"))
        assert there.files == [ref.fingerprint]


async def test_tail_too_large_for_a_message_is_refused_by_its_size() -> None:
    ref = tail(2.0, [], extra=(1 << 19) // 4)  # of a link of 1 MiB
    async with reached() as (there, link):
        with pytest.raises(PreconditionFailed, match="takes no streams") as caught:
            await embed(link.extractor, "a", ref)
        assert (caught.value.field, caught.value.limit) == ("tail", 1 << 19)
        assert there.files == []
