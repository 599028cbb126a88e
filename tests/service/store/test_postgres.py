"""PostgreSQL: writes as if each ran alone, numbers in order, and a store that goes away."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, func, insert, select, update

from service.errors import (
    DataDirectoryLocked,
    InvalidRequest,
    StartupError,
    StoreFailed,
    StoreMissing,
    Unavailable,
)
from service.store import schema
from service.store import tenants as stored_tenants
from service.store.changes import Changed, changed_in
from service.store.database import OutcomeUnknown
from service.store.feedback import list_feedback, store_feedback
from service.store.postgres import PostgresDatabase
from service.store.sql import json_part
from tests.postgres import Postgres, PostgresProcess, connected
from tests.service.store.records import MANY, add_examples, add_version, example, feedback, new_head

Open = Callable[..., PostgresDatabase]


@pytest.fixture
def url(postgres: Postgres) -> Iterator[URL]:
    with postgres.store() as made:
        yield made


@pytest.fixture
def open_store(url: URL, tmp_path: Path) -> Iterator[Open]:
    opened: list[PostgresDatabase] = []

    def open_one(folder: str = "data", **options: Any) -> PostgresDatabase:
        opened.append(PostgresDatabase(tmp_path / folder, options.pop("url", url), **options))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
def database(open_store: Open) -> PostgresDatabase:
    return open_store(connections=8)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[PostgresProcess]:
    """A server that a test stops, crashes and starts again."""
    process = PostgresProcess()
    process.start()
    yield process
    process.start_again()
    process.remove()


class Gate:
    """A write that waits, before its commit, until the test lets it go on."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._call = function, args, kwargs
        self._reached, self._open = threading.Event(), threading.Event()
        self.runs = 0

    def __call__(self, connection: Connection) -> Any:
        self.runs += 1
        function, args, kwargs = self._call
        result = function(connection, *args, **kwargs)
        self._reached.set()
        assert self._open.wait(60)
        return result

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 60)

    def go_on(self) -> None:
        self._open.set()


def tenant_names(connection: Connection) -> list[str]:
    return list(connection.scalars(select(schema.tenants.c.name).order_by(schema.tenants.c.name)))


def sessions(postgres: Postgres, url: URL) -> int:
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    return int(str(postgres.execute(count, url.database)[0][0]))


def cut(postgres: Postgres, url: URL) -> None:
    """Ends all connections of the server under test."""
    postgres.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
        url.database,
    )


def test_migrations_make_exactly_the_tables_of_the_schema(url: URL) -> None:
    engine = connected(url)
    with engine.connect() as connection:
        options = {"compare_server_default": True, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
        others = connection.exec_driver_sql(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = "
            "'public' AND table_name <> 'alembic_version' AND (data_type = 'integer' OR data_type "
            "IN ('text', 'character varying') AND collation_name IS DISTINCT FROM 'C')"
        ).all()
        short = connection.exec_driver_sql(
            "SELECT sequencename FROM pg_sequences WHERE data_type <> 'bigint'::regtype"
        ).all()
    engine.dispose()
    assert others == short == []


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


def log(connection: Connection, uid: str) -> list[tuple[int, str]]:
    rows = list_feedback(connection, uid, after=0, limit=MANY, state=None)
    return [(row.id, row.feedback_id) for row in rows]


async def test_no_reader_ever_sees_a_number_of_feedback_before_a_lower_one(
    database: PostgresDatabase,
) -> None:
    head = await database.write(new_head)
    through, learned = 0, list[str]()

    async def learn() -> None:
        nonlocal through
        for number, name in await database.read(log, head.uid):
            if number > through:
                learned.append(name)
        rows = await database.read(log, head.uid)
        through = max([through, *(number for number, name in rows if name in learned)])

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


async def test_connections_that_were_cut_are_made_again_and_nothing_is_done_twice(
    database: PostgresDatabase, postgres: Postgres, url: URL
) -> None:
    await database.write(new_head)
    gate = Gate(new_head, "second")
    writing = asyncio.create_task(database.write(gate))
    await gate.reached()
    await asyncio.to_thread(cut, postgres, url)
    gate.go_on()
    assert await database.read(tenant_names) == ["acme"]
    with pytest.raises(OutcomeUnknown):  # its commit met the cut, and may have been one
        await writing
    assert gate.runs == 1
    await database.write(new_head, "third")
    names = await database.read(lambda c: c.scalars(select(schema.heads.c.name)).all())
    assert sorted(names) == ["defects", "third"]


async def test_write_whose_connection_was_cut_before_its_commit_is_run_again(
    database: PostgresDatabase, postgres: Postgres, url: URL
) -> None:
    runs = []

    def cut_once(connection: Connection) -> None:
        runs.append(1)
        new_head(connection)
        if len(runs) == 1:
            cut(postgres, url)
        new_head(connection, "second")

    await database.write(cut_once)
    assert len(runs) == 2
    assert await database.read(lambda c: c.scalar(select(func.count(schema.heads.c.uid)))) == 2


async def test_followers_are_told_of_a_commit_of_which_nobody_knows_whether_it_was_one(
    database: PostgresDatabase, postgres: Postgres, url: URL
) -> None:
    told: list[Changed] = []
    database.follow(told.append)

    def change(connection: Connection) -> None:
        new_head(connection)
        changed_in(connection).keys.add("one")
        cut(postgres, url)

    with pytest.raises(OutcomeUnknown, match="it may be done or not") as caught:
        await database.write(change)
    assert caught.value.retry_after
    assert [changed.keys for changed in told] == [{"one"}]


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
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.postgres.engines.STATEMENT_SECONDS", 1)
    database = open_store()
    with pytest.raises(Unavailable, match="this took it too long"):
        await database.read(lambda c: c.exec_driver_sql("SELECT pg_sleep(60)").all())
    assert await database.read(tenant_names) == []


async def test_connections_are_no_more_than_the_setting_and_the_locks(
    open_store: Open, postgres: Postgres, url: URL
) -> None:
    database = open_store(connections=4)
    await asyncio.gather(*(database.read(tenant_names) for _ in range(50)))
    await asyncio.gather(*(database.write(new_head, f"head-{i}") for i in range(20)))
    assert sessions(postgres, url) <= 5


def test_second_server_is_refused_until_the_first_has_gone(open_store: Open) -> None:
    first = open_store("one")
    with pytest.raises(DataDirectoryLocked, match=r"store: .* is in use by another server"):
        open_store("two")
    first.close()
    open_store("two")


async def test_server_that_lost_its_lock_to_another_writes_nothing_more(
    open_store: Open, postgres: Postgres, url: URL
) -> None:
    first = open_store("one")
    cut(postgres, url)
    second = open_store("two")
    with pytest.raises(Unavailable, match="another server has taken it over"):
        await first.write(new_head)
    with pytest.raises(Unavailable, match="another server has taken it over"):
        await first.read(tenant_names)
    second.close()
    await first.write(new_head)


def test_address_that_nobody_answers_at_is_refused_without_its_password(tmp_path: Path) -> None:
    url = sqlalchemy.make_url(f"postgresql+psycopg://u:geheim@/db?host={tmp_path}")
    with pytest.raises(StartupError, match=r"store: .* cannot be used") as caught:
        PostgresDatabase(tmp_path / "data", url)
    assert "geheim" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_store_of_a_later_release_is_refused(open_store: Open, url: URL) -> None:
    engine = connected(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartupError, match="schema 9999, this release knows them up to"):
        open_store()
    engine.dispose()


def test_database_of_another_encoding_is_refused(open_store: Open, postgres: Postgres) -> None:
    with (
        postgres.empty("template0 ENCODING 'SQL_ASCII' LOCALE 'C'") as url,
        pytest.raises(StartupError, match="its encoding must be UTF8, is SQL_ASCII"),
    ):
        open_store(url=url)


def test_empty_database_beside_the_files_of_a_store_is_refused_unless_it_is_meant(
    open_store: Open, postgres: Postgres, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "trunkline.db").write_bytes(b"SQLite format 3\0")
    with postgres.empty() as url:
        with pytest.raises(StoreMissing, match="bring it over with `trunkline store copy`"):
            open_store(url=url)
        open_store(url=url, new_store=True).close()
        open_store(url=url).close()


def test_database_is_left_alone_where_it_is_refused(postgres: Postgres, tmp_path: Path) -> None:
    (tmp_path / "data" / "activations").mkdir(parents=True)
    with postgres.empty() as url:
        with pytest.raises(StoreMissing):
            PostgresDatabase(tmp_path / "data", url)
        assert postgres.execute("SELECT 1") == [(1,)]
        engine = connected(url)
        assert sqlalchemy.inspect(engine).get_table_names() == []
        engine.dispose()


def test_other_tables_in_the_database_stay_as_they_are(
    open_store: Open, postgres: Postgres
) -> None:
    with postgres.empty() as url:
        engine = connected(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE others (id serial, name varchar(5))")
        open_store(url=url).close()
        kinds = [str(column["type"]) for column in sqlalchemy.inspect(engine).get_columns("others")]
        engine.dispose()
    assert kinds == ["INTEGER", "VARCHAR(5)"]


async def test_texts_are_ordered_by_their_bytes_whatever_the_database_prefers(
    database: PostgresDatabase,
) -> None:
    names = ["b", "B", "a-b", "ab", "a", "ä", "_"]
    for name in names:
        await database.write(stored_tenants.update_quotas, name, {"examples": 1})
    found = [t.name for t in await database.read(stored_tenants.list_tenants, "", 100)]
    assert found == sorted(names)


async def test_text_with_a_null_character_is_refused_and_numbers_beyond_32_bits_are_kept(
    database: PostgresDatabase,
) -> None:
    with pytest.raises(InvalidRequest, match=r"U\+0000"):
        await database.write(new_head, "a\0b")
    with pytest.raises(InvalidRequest, match=r"U\+0000"):
        await database.read(stored_tenants.list_tenants, "a\0", 1)
    await database.write(stored_tenants.update_quotas, "acme", {"stored_bytes": 1 << 40})
    tenant = await database.read(stored_tenants.get_tenant, "acme")
    assert tenant.quotas.stored_bytes == 1 << 40


async def test_triggers_count_as_counting_anew_does(database: PostgresDatabase) -> None:
    head = await database.write(new_head)
    rows = [example(f"text {i}", "a", keep=i % 2 == 0) for i in range(30)]
    await database.write(add_examples, head.uid, *rows)
    await database.write(add_version, head.uid, b"w" * 100, activate=True)
    await database.write(add_examples, head.uid, example("text 1", "b", keep=True))
    before = await database.read(stored_tenants.get_tenant, "acme")
    assert (before.examples, before.stored_bytes) == await database.read(
        stored_tenants.counted, before.id
    )
    assert before.examples == 30


async def test_damaged_json_has_no_parts(database: PostgresDatabase) -> None:
    def parts(connection: Connection) -> list[str | None]:
        texts = ['{"a": {"b": 1}}', '{"a": null}', '{"b": 1}', "damaged", '{"a": NaN}', "[]"]
        head = new_head(connection)
        for number, report in enumerate(texts, 1):
            connection.execute(
                insert(schema.versions).values(
                    head_uid=head.uid,
                    version=number,
                    source="training",
                    labels="[]",
                    report=report,
                    example_count=0,
                    safetensors=b"",
                    created_at=0.0,
                    backbone="tiny/text",
                    base_fingerprint="",
                    digest="",
                )
            )
        table = schema.versions.c
        return list(
            connection.scalars(select(json_part(table.report, "a")).order_by(table.version))
        )

    assert await database.write(parts) == ['{"b": 1}', None, None, None, None, None]


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
