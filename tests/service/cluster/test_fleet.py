"""Servers in this process on one PostgreSQL: a change is acknowledged when all know of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, Connection, select

from service.cluster import fleet as fleets
from service.cluster import lease as leases
from service.cluster.fleet import Fleet
from service.concurrency.tasks import UninterruptedTasks
from service.errors import Unavailable
from service.store import change_feed, schema, servers
from service.store.changes import Changed, changed_in
from service.store.postgres import PostgresDatabase
from tests.postgres import Postgres
from tests.service.store.postgres_steps import Gate, cut


@dataclass
class Server:
    """A database with its fleet, and what its followers were told."""

    database: PostgresDatabase
    fleet: Fleet
    told: list[Changed] = field(default_factory=list)
    lapses: list[bool] = field(default_factory=list)

    @property
    def heads(self) -> list[str]:
        return [head for changed in self.told for head in sorted(changed.heads)]


def change(connection: Connection, head: str) -> None:
    changed_in(connection).heads.add(head)


def rows(connection: Connection) -> dict[str, int]:
    table = schema.servers.c
    found = connection.execute(select(table.name, table.confirmed))
    return {row.name: row.confirmed for row in found}


async def renewed(server: Server) -> None:
    """Returns when the server's next lease has come."""
    event = asyncio.Event()
    server.fleet.on_renewed = lambda others: event.set()
    await event.wait()


@pytest.fixture
def url(postgres: Postgres) -> Iterator[URL]:
    with postgres.store() as made:
        yield made


@asynccontextmanager
async def started(url: URL, data_dir: Path) -> AsyncIterator[Server]:
    database, tasks, lapses = PostgresDatabase(data_dir, url), UninterruptedTasks(), list[bool]()
    try:
        fleet = Fleet(database, data_dir, tasks, lapses.append)
        server = Server(database, fleet, lapses=lapses)
        database.follow(server.told.append)
        await fleet.start()
        yield server
        await tasks.close()
        await fleet.close()
    finally:
        database.close()


@pytest.fixture
async def both(url: URL, tmp_path: Path) -> AsyncIterator[tuple[Server, Server]]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(started(url, tmp_path / "one"))
        two = await stack.enter_async_context(started(url, tmp_path / "two"))
        yield one, two


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second, of which a server counts a half."""
    monkeypatch.setattr(servers, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1.0)
    for module in (leases, fleets):
        monkeypatch.setattr(module, "MARGIN_SECONDS", 0.3)
    monkeypatch.setattr(fleets, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(fleets, "RETRY_SECONDS", 0.02)


async def test_other_servers_know_a_change_when_it_is_acknowledged(
    both: tuple[Server, Server],
) -> None:
    one, two = both
    for number in range(5):
        writer, other = (one, two) if number % 2 else (two, one)
        await writer.database.write(change, f"head {number}")
        assert other.heads[-1:] == writer.heads[-1:] == [f"head {number}"]
    assert one.heads == two.heads
    confirmed = await one.database.read(rows)
    assert len(confirmed) == 2


async def test_changes_at_once_come_in_one_order_everywhere(both: tuple[Server, Server]) -> None:
    one, two = both
    writes = [
        server.database.write(change, f"{name} {number}")
        for number in range(20)
        for name, server in (("one", one), ("two", two))
    ]
    await asyncio.gather(*writes)
    assert one.heads == two.heads
    assert sorted(one.heads) == sorted(f"{name} {n}" for n in range(20) for name in ("one", "two"))


async def test_no_change_appears_before_one_of_a_lower_number(
    both: tuple[Server, Server],
) -> None:
    one, two = both
    gate = Gate(lambda c: change_feed.append_change(c, "slow", Changed(heads={"first"})))
    first = asyncio.create_task(one.database.write(gate))
    await gate.reached()
    second = asyncio.create_task(two.database.write(change, "second"))
    await two.fleet._look()
    assert two.heads == []
    gate.go_on()
    await asyncio.gather(first, second)
    await asyncio.gather(one.fleet._look(), two.fleet._look())
    assert one.heads == two.heads == ["first", "second"]


async def test_server_that_hears_nothing_delays_a_change_until_its_lease_has_ended(
    short_leases: None, both: tuple[Server, Server]
) -> None:
    one, two = both
    async with two.fleet._reading:  # it hangs
        await one.database.write(change, "head")
        assert two.heads == []
        with pytest.raises(Unavailable, match="has not reached the store for too long") as caught:
            await two.fleet.up_to_date()
        assert caught.value.retry_after
        await one.fleet.up_to_date()
    await renewed(two)
    assert two.heads == ["head"]
    assert two.lapses == [True, False]
    await two.fleet.up_to_date()


async def test_server_that_stops_is_not_waited_for(url: URL, tmp_path: Path) -> None:
    async with started(url, tmp_path / "one") as one:
        async with started(url, tmp_path / "two"):
            assert len(await one.database.read(rows)) == 2
        assert len(await one.database.read(rows)) == 1
        await one.database.write(change, "head")


async def test_each_head_is_one_servers_to_learn(
    short_leases: None, both: tuple[Server, Server]
) -> None:
    one, two = both
    await asyncio.gather(renewed(one), renewed(two))
    uids = [f"head {number}" for number in range(50)]
    ours = [{uid for uid in uids if server.fleet.scores(uid)} for server in both]
    assert ours[0] | ours[1] == set(uids)
    assert not ours[0] & ours[1]
    assert all(ours)


async def test_server_that_starts_again_ends_its_own_lease(
    url: URL, tmp_path: Path, postgres: Postgres
) -> None:
    async with started(url, tmp_path / "one") as one, started(url, tmp_path / "two"):
        names = set(await one.database.read(rows))
    async with started(url, tmp_path / "one") as one, started(url, tmp_path / "two"):
        assert set(await one.database.read(rows)) == names


async def test_lost_connections_lose_no_change(
    both: tuple[Server, Server], postgres: Postgres, url: URL
) -> None:
    one, two = both
    for number in range(3):
        await asyncio.to_thread(cut, postgres, url)
        await one.database.write(change, f"head {number}")
        assert two.heads[-1] == f"head {number}"


async def test_rolled_back_number_is_no_change_that_was_missed(
    both: tuple[Server, Server], postgres: Postgres, url: URL
) -> None:
    one, two = both
    await one.database.write(change, "a")
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        connection.execute("SELECT nextval(pg_get_serial_sequence('changes', 'number'))")
    await one.database.write(change, "b")
    assert two.heads == ["a", "b"]
    assert not any(changed.everything for changed in two.told)


async def test_server_that_missed_changes_trusts_nothing(
    short_leases: None, both: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = both
    monkeypatch.setattr(change_feed, "KEPT", 1)
    monkeypatch.setattr(change_feed, "TRIM_EVERY", 1)
    await one.database.write(change, "known")
    async with two.fleet._reading:
        for number in range(3):
            await one.database.write(change, f"head {number}")
    await renewed(two)
    assert any(changed.everything for changed in two.told)


async def test_second_server_of_a_name_takes_another(
    short_leases: None, url: URL, tmp_path: Path
) -> None:
    async with started(url, tmp_path / "one") as one:
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / fleets.NAME_FILE).write_bytes((tmp_path / "one" / fleets.NAME_FILE).read_bytes())
        async with started(url, copy) as two:
            await renewed(one)
            assert len(await one.database.read(rows)) == 2
            await one.database.write(change, "a")
            await two.database.write(change, "b")
            assert one.heads == two.heads == ["a", "b"]
