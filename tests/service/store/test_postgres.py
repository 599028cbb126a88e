"""PostgreSQL: writes as if each ran alone, and numbers in order."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy
from sqlalchemy import URL, Connection, insert, select, update

from service.errors import (
    StoreFailed,
    Unavailable,
)
from service.store import schema
from service.store.changes import Changed, changed_in
from service.store.feedback import store_feedback
from service.store.postgres import PostgresDatabase
from tests.postgres import Postgres
from tests.service.store.conftest import OpenStore
from tests.service.store.postgres_steps import Gate, log, sessions, tenant_names
from tests.service.store.records import MANY, add_examples, example, feedback, new_head


@pytest.fixture
def database(open_store: OpenStore) -> PostgresDatabase:
    return open_store(connections=8)


async def test_feedback_is_seen_in_the_order_of_its_numbers_though_the_first_commits_last(
    database: PostgresDatabase, postgres: Postgres
) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x"), example("y"))
    first = Gate(store_feedback, head.uid, [feedback("one", "x", "a")], max_examples=MANY)
    writing = asyncio.create_task(database.write(first))
    await first.reached()
    told = asyncio.Event()
    database.follow(lambda changed: told.set())
    item = feedback("two", "y", "a")
    second = asyncio.create_task(
        database.write(store_feedback, head.uid, [item], max_examples=MANY)
    )
    other = await database.write(new_head, "others")  # which waits for nobody
    assert await database.read(log, other.uid) == []
    told.clear()
    await asyncio.to_thread(postgres.until_one_waits)
    assert await database.read(log, head.uid) == []
    first.go_on()
    await told.wait()
    seen = await database.read(log, head.uid)
    assert seen
    await asyncio.gather(writing, second)
    whole = await database.read(log, head.uid)
    assert whole[: len(seen)] == seen
    assert sorted(name for _, name in whole) == ["one", "two"]


async def test_no_reader_ever_sees_a_number_of_feedback_before_a_lower_one(
    database: PostgresDatabase,
) -> None:
    head = await database.write(new_head)
    through, learned, learning = 0, list[str](), asyncio.Lock()

    async def learn() -> None:
        nonlocal through
        async with learning:  # it is one reader's, who reads on from where it was
            rows = await database.read(log, head.uid)
            learned.extend(name for number, name in rows if number > through)
            through = max([through, *(number for number, _ in rows)])

    async def send(writer: int) -> None:
        for i in range(6):
            item = feedback(f"{writer}-{i}", f"{writer} {i}", "a")
            await database.write(store_feedback, head.uid, [item], max_examples=MANY)
            await learn()

    await asyncio.gather(*(send(writer) for writer in range(4)))
    await learn()
    assert sorted(learned) == sorted(f"{writer}-{i}" for writer in range(4) for i in range(6))


async def test_writes_that_contradict_one_another_run_as_if_one_after_the_other(
    database: PostgresDatabase,
) -> None:
    """Write skew: each sees that it may add a tenant, as there is but one, and only one may."""

    def add_second(connection: Connection, name: str) -> bool:
        if len(tenant_names(connection)) > 1:
            return False
        connection.execute(insert(schema.tenants).values(name=name, created_at=0.0))
        return True

    await database.write(new_head)
    gate = Gate(add_second, "one")
    first = asyncio.create_task(database.write(gate))
    await gate.reached()
    second = asyncio.create_task(database.write(add_second, "two"))
    assert await second
    gate.go_on()
    assert not await first
    assert gate.runs == 2
    assert await database.read(tenant_names) == ["acme", "two"]


async def test_concurrent_increments_are_all_counted(database: PostgresDatabase) -> None:
    await database.write(new_head)
    told: list[Changed] = []
    database.follow(told.append)

    def increment(connection: Connection) -> None:
        before = connection.scalar(select(schema.tenants.c.created_at)) or 0
        connection.execute(update(schema.tenants).values(created_at=before + 1))
        changed_in(connection).keys.add("one")

    begin = await database.read(lambda c: c.scalar(select(schema.tenants.c.created_at)))
    await asyncio.gather(*(database.write(increment) for _ in range(25)))
    end = await database.read(lambda c: c.scalar(select(schema.tenants.c.created_at)))
    assert begin is not None
    assert end is not None
    assert round(end - begin) == 25
    assert len(told) == 25


async def test_write_that_is_never_free_of_others_is_refused_with_a_hint(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.postgres.database.RETRY_SECONDS", 0.0)

    def lose(connection: Connection) -> None:
        connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")

    with pytest.raises(Unavailable, match="too much was changed at once") as caught:
        await database.write(lose)
    assert caught.value.retry_after


async def test_failed_statement_that_a_function_overlooks_is_no_commit(
    database: PostgresDatabase,
) -> None:
    def overlook(connection: Connection) -> None:
        new_head(connection)
        with pytest.raises(sqlalchemy.exc.ProgrammingError):
            connection.exec_driver_sql("SELECT * FROM nowhere")

    with pytest.raises(StoreFailed):
        await database.write(overlook)
    assert await database.read(tenant_names) == []


async def test_connections_are_no_more_than_the_setting_and_the_locks(
    open_store: OpenStore, postgres: Postgres, postgres_url: URL
) -> None:
    database = open_store(connections=4)
    await asyncio.gather(*(database.read(tenant_names) for _ in range(50)))
    await asyncio.gather(*(database.write(new_head, f"head-{i}") for i in range(20)))
    assert sessions(postgres, postgres_url) <= 5
