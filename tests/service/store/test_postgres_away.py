"""PostgreSQL that is cut off, stopped, crashed, or takes too long."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, func, select

from service.errors import (
    OutcomeUnknown,
    Unavailable,
)
from service.store import schema
from service.store import tenants as stored_tenants
from service.store.changes import Changed, changed_in
from service.store.feedback import store_feedback
from service.store.postgres import PostgresDatabase
from tests.postgres import Postgres, PostgresProcess
from tests.service.store.conftest import OpenStore
from tests.service.store.postgres_steps import Gate, cut, log, tenant_names
from tests.service.store.records import MANY, feedback, new_head


@pytest.fixture
def database(open_store: OpenStore) -> PostgresDatabase:
    return open_store(connections=8)


async def test_connections_that_were_cut_are_made_again_and_nothing_is_done_twice(
    database: PostgresDatabase, postgres: Postgres, postgres_url: URL
) -> None:
    await database.write(new_head)
    gate = Gate(new_head, "second")
    writing = asyncio.create_task(database.write(gate))
    await gate.reached()
    await asyncio.to_thread(cut, postgres, postgres_url)
    gate.go_on()
    assert await database.read(tenant_names) == ["acme"]
    with pytest.raises(OutcomeUnknown):  # its commit met the cut, and may have been one
        await writing
    assert gate.runs == 1
    await database.write(new_head, "third")
    names = await database.read(lambda c: c.scalars(select(schema.heads.c.name)).all())
    assert sorted(names) == ["defects", "third"]


async def test_write_whose_connection_was_cut_before_its_commit_is_run_again(
    database: PostgresDatabase, postgres: Postgres, postgres_url: URL
) -> None:
    runs = []

    def cut_once(connection: Connection) -> None:
        runs.append(1)
        new_head(connection)
        if len(runs) == 1:
            cut(postgres, postgres_url)
        new_head(connection, "second")

    await database.write(cut_once)
    assert len(runs) == 2
    assert await database.read(lambda c: c.scalar(select(func.count(schema.heads.c.uid)))) == 2


async def test_followers_are_told_of_a_commit_of_which_nobody_knows_whether_it_was_one(
    database: PostgresDatabase, postgres: Postgres, postgres_url: URL
) -> None:
    told: list[Changed] = []
    database.follow(told.append)

    def change(connection: Connection) -> None:
        new_head(connection)
        changed_in(connection).keys.add("one")
        cut(postgres, postgres_url)

    with pytest.raises(OutcomeUnknown, match="it may be done or not") as caught:
        await database.write(change)
    assert caught.value.retry_after
    assert [changed.keys for changed in told] == [{"one"}]


async def test_store_that_is_away_is_unavailable_with_a_hint_and_back_by_itself(
    own: PostgresProcess, tmp_path: Path
) -> None:
    with own.store() as url:
        database = PostgresDatabase(tmp_path / "data", url, connections=4)
        try:
            await database.write(new_head)
            for end in (own.stop, own.crash):
                await asyncio.to_thread(end)
                for work in (database.read(tenant_names), database.write(new_head, "second")):
                    with pytest.raises(Unavailable, match="the store does not answer") as caught:
                        await work
                    assert caught.value.retry_after
                own.start()  # not in a thread, with whose end it would end
                assert await database.read(tenant_names) == ["acme"]
                await database.write(stored_tenants.update_quotas, "acme", {"examples": 5})
        finally:
            database.close()


async def test_statement_that_takes_too_long_is_ended_and_costs_nobody_else_anything(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.postgres.engines.STATEMENT_SECONDS", 1)
    database = open_store()
    with pytest.raises(Unavailable, match="this took it too long"):
        await database.read(lambda c: c.exec_driver_sql("SELECT pg_sleep(60)").all())
    assert await database.read(tenant_names) == []


@pytest.mark.long
async def test_nothing_acknowledged_is_lost_or_done_twice_however_often_postgres_crashes(
    own: PostgresProcess, tmp_path: Path
) -> None:
    chance = random.Random(15)
    acknowledged: set[str] = set()
    sent: set[str] = set()
    stop = asyncio.Event()

    async def write(database: PostgresDatabase, uid: str, writer: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            name = f"{writer}-{number}"
            sent.add(name)
            try:
                await database.write(
                    store_feedback, uid, [feedback(name, name, "a")], max_examples=MANY
                )
                acknowledged.add(name)
            except Unavailable:
                await asyncio.sleep(0.02)  # as who comes back later

    with own.store() as url:
        database = PostgresDatabase(tmp_path / "data", url, connections=8)
        head = await database.write(new_head)
        writers = [asyncio.create_task(write(database, head.uid, i)) for i in range(6)]
        for _ in range(12):
            await asyncio.sleep(chance.uniform(0.05, 0.4))
            await asyncio.to_thread(own.crash)
            own.start()  # not in a thread, with whose end it would end
        await asyncio.sleep(0.2)
        stop.set()
        await asyncio.gather(*writers)
        stored = [name for _, name in await database.read(log, head.uid)]
        tenant = await database.read(stored_tenants.get_tenant, "acme")
        counted = await database.read(stored_tenants.counted, tenant.id)
        database.close()
    assert len(acknowledged) > 12
    assert acknowledged <= set(stored) <= sent
    assert len(stored) == len(set(stored)) == tenant.examples
    assert counted == (tenant.examples, tenant.stored_bytes)
