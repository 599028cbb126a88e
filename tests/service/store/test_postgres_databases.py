"""Databases that are taken or refused, whose they are, and what they keep."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, insert, select

from service.errors import (
    DataDirectoryLocked,
    InvalidRequest,
    StartupError,
    StoreMissing,
    Unavailable,
)
from service.store import schema
from service.store import tenants as stored_tenants
from service.store.postgres import PostgresDatabase
from service.store.postgres.engines import open_engine
from service.store.postgres.server_lock import ServerLock
from service.store.sql import json_part
from tests.postgres import Postgres, connected
from tests.service.store.conftest import OpenStore
from tests.service.store.postgres_steps import cut, tenant_names
from tests.service.store.records import add_examples, add_version, example, new_head


@pytest.fixture
def database(open_store: OpenStore) -> PostgresDatabase:
    return open_store(connections=8)


def test_migrations_make_exactly_the_tables_of_the_schema(postgres_url: URL) -> None:
    engine = connected(postgres_url)
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


def test_store_of_a_later_release_is_refused(open_store: OpenStore, postgres_url: URL) -> None:
    engine = connected(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartupError, match="schema 9999, this release knows them up to"):
        open_store()
    engine.dispose()


def test_database_of_another_encoding_is_refused(open_store: OpenStore, postgres: Postgres) -> None:
    with (
        postgres.empty("template0 ENCODING 'SQL_ASCII' LOCALE 'C'") as url,
        pytest.raises(StartupError, match="its encoding must be UTF8, is SQL_ASCII"),
    ):
        open_store(url=url)


def test_empty_database_beside_the_files_of_a_store_is_refused_unless_it_is_meant(
    open_store: OpenStore, postgres: Postgres, tmp_path: Path
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
    open_store: OpenStore, postgres: Postgres
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


def test_address_that_nobody_answers_at_is_refused_without_its_password(tmp_path: Path) -> None:
    url = sqlalchemy.make_url(f"postgresql+psycopg://u:geheim@/db?host={tmp_path}")
    with pytest.raises(StartupError, match=r"store: .* cannot be used") as caught:
        PostgresDatabase(tmp_path / "data", url)
    assert "geheim" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_servers_share_a_store_that_nobody_has_alone(
    open_store: OpenStore, postgres_url: URL
) -> None:
    engine = open_engine(postgres_url)
    alone = ServerLock(engine, alone=True)
    first, second = open_store("one"), open_store("two")
    for database in (first, second):
        with pytest.raises(DataDirectoryLocked, match=r"store: .* is in use by a server"):
            alone.take()
        database.close()
    alone.take()
    alone.close()
    engine.dispose()


async def test_server_that_lost_its_lock_to_who_copies_the_store_writes_nothing_more(
    open_store: OpenStore, postgres: Postgres, postgres_url: URL
) -> None:
    first = open_store("one")
    cut(postgres, postgres_url)
    engine = open_engine(postgres_url)
    alone = ServerLock(engine, alone=True)
    alone.take()
    with pytest.raises(Unavailable, match="in use by who copies it"):
        await first.write(new_head)
    with pytest.raises(Unavailable, match="in use by who copies it"):
        await first.read(tenant_names)
    alone.close()
    engine.dispose()
    await first.write(new_head)


def test_servers_that_start_at_once_make_one_store(postgres: Postgres, tmp_path: Path) -> None:
    with postgres.empty() as url, ThreadPoolExecutor(3) as threads:
        opened = threads.map(lambda n: PostgresDatabase(tmp_path / str(n), url), range(3))
        for database in opened:
            database.close()
