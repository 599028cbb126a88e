"""A shared cache that is away, hangs, refuses or is lost costs time alone, and is said once."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from service.concurrency.circuit import FIRST_PAUSE_SECONDS, Circuit
from service.store import Database
from tests.service.embedding.resolvers import vectors_of
from tests.service.shared.sharing import (
    AWAY,
    PATIENCE,
    ping,
    right,
    said,
    shared_server,
    sharing,
)
from tests.service.shared.valkey import BOUNDED, Valkey
from tests.service.store.records import new_head
from tests.service.tiny_backbone import info, text_input, vector_of

SHORT = 0.1
PAGE = (Path(__file__).parents[3] / "docs" / "shared-cache.md").read_text(encoding="utf-8")
QUICK_START = tuple(re.findall("^valkey-server --port 6379 (.*)$", PAGE, re.MULTILINE)[0].split())
BACK = "answers again"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_server_that_is_killed_and_comes_back_empty_is_used_again(
    database: Database, valkey: Valkey
) -> None:
    await database.write(new_head)
    clock = Clock()
    with capture_logs() as logs:
        async with sharing(database, valkey.url, circuit=Circuit(clock), memory=0) as server:
            await right(server, "x")
            valkey.kill()
            for _ in range(3):
                await right(server, "x", "y")
            assert said(logs, AWAY) == 1
            assert server.count("up") == 0
            assert server.count("failures_total") == 1
            valkey.start()
            await right(server, "x")
            assert server.count("up") == 0  # it is left alone for a while
            clock.now = FIRST_PAUSE_SECONDS
            await right(server, "x")
            assert server.count("up") == 1
            await right(server, "x")
            assert server.lookups()["hit"] == 1
    assert (said(logs, AWAY), said(logs, BACK)) == (1, 1)


async def test_server_that_hangs_holds_up_one_request_and_all_answers_are_right(
    database: Database, valkey: Valkey
) -> None:
    await database.write(new_head)
    clock = Clock()
    async with sharing(
        database, valkey.url, seconds=SHORT, circuit=Circuit(clock), memory=0
    ) as server:
        with valkey.held():
            await right(server, "x")
            asked = server.count("seconds_count")
            for text in ("a", "b", "c"):
                await right(server, text)
            assert server.count("seconds_count") == asked
            clock.now += FIRST_PAUSE_SECONDS
            await right(server, "x")  # one tries again
            assert server.count("up") == 0
        clock.now += 2 * FIRST_PAUSE_SECONDS
        for _ in range(2):
            await right(server, "x")
        assert server.lookups()["hit"] == 1


async def test_many_requests_at_once_survive_a_server_that_stops_under_them(
    database: Database, valkey: Valkey
) -> None:
    await database.write(new_head)
    async with sharing(database, valkey.url, seconds=SHORT, memory=0) as server:

        async def ask(i: int) -> None:
            text = "abcdefghij"[i % 10]
            (found,) = vectors_of(await server.resolver.resolve("acme", info(), [text_input(text)]))
            assert found == vector_of(text).tolist()

        await asyncio.gather(*map(ask, range(100)))
        with valkey.held():
            await asyncio.gather(*map(ask, range(100)))
        valkey.kill()
        await asyncio.gather(*map(ask, range(100)))
        assert server.count("failures_total") >= 1


async def test_who_is_in_a_hurry_waits_half_of_the_time_and_does_not_switch_it_off(
    valkey: Valkey,
) -> None:
    async with shared_server(valkey.url) as (server, metrics):
        loop = asyncio.get_running_loop()

        async def slow(redis: Redis) -> bytes:
            await asyncio.sleep(PATIENCE)
            return b""

        assert await server.ask(slow, deadline=loop.time() + SHORT) is None
        assert not server.away
        assert await server.ask(ping) == b"here"
        assert metrics.registry.get_sample_value("trunkline_shared_cache_failures_total") == 0


async def test_hung_server_is_noticed_though_all_are_in_a_hurry(valkey: Valkey) -> None:
    async with shared_server(valkey.url, seconds=SHORT) as (server, _):
        with valkey.held():
            loop = asyncio.get_running_loop()
            for _ in range(20):
                await server.ask(ping, deadline=loop.time() + SHORT)
            assert server.away


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (QUICK_START, None),
        (("--maxmemory", "0"), "set maxmemory, and maxmemory-policy allkeys-lru"),
        (("--maxmemory", "16mb", "--maxmemory-policy", "noeviction"), "set maxmemory-policy"),
        (BOUNDED, None),
    ],
)
async def test_server_without_a_bound_is_warned_of(
    tmp_path_factory: pytest.TempPathFactory, options: tuple[str, ...], advice: str | None
) -> None:
    valkey = Valkey(tmp_path_factory.mktemp("v"), *options)
    valkey.start()
    with capture_logs() as logs:
        async with shared_server(valkey.url) as (server, _):
            server.start()
    valkey.kill()
    warned = [str(entry["advice"]) for entry in logs if entry["log_level"] == "warning"]
    assert [words.startswith(advice) for words in warned if advice] == [True] * bool(advice)
    assert len(warned) == bool(advice)


async def test_full_server_that_evicts_nothing_takes_no_more_and_is_still_read(
    database: Database, valkey: Valkey
) -> None:
    await database.write(new_head)
    async with sharing(database, valkey.url, memory=0) as server:
        await right(server, "x")
        client = valkey.client()
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", "1")
        await client.aclose()
        with capture_logs() as logs:
            await right(server, "y")
            await right(server, "z")
        assert server.count("lost_total", reason="refused") == 2
        assert said(logs, "takes no embeddings") == 1
        await right(server, "x")
        assert server.lookups()["hit"] == 1
