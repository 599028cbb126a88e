"""`trunkline store copy`: all that was stored comes over, or nothing does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from click.testing import CliRunner, Result
from sqlalchemy import URL, Connection, func, select, text, update

from service.check import check_main
from service.moving import rows
from service.store import Database, open_database, schema
from service.store.audit import AuditRow, add_audit_rows
from service.store.feedback import store_feedback
from service.store.tails import NewTail, store_tail
from service.store.upgrade import newest_revision
from service.store.usage import Used, add_usage
from tests.postgres import Postgres, connected
from tests.service.store.records import MANY, add_examples, add_version, example, feedback, new_head
from trunkline.cli import main

pytestmark = pytest.mark.usefixtures("own_logging")


@pytest.fixture
def url(postgres: Postgres) -> Iterator[URL]:
    with postgres.empty() as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data directory with rows in nearly every table."""
    folder = tmp_path / "from"
    database = open_database(folder)
    asyncio.run(database.write(fill))
    database.close()
    return folder


def fill(connection: Connection) -> None:
    head = new_head(connection)
    new = [example(f"text {i} ä 🙂", "a", keep=i % 2 == 0) for i in range(1200)]
    add_examples(connection, head.uid, *new)
    add_version(connection, head.uid, bytes(range(256)) * 50, activate=True)
    said = [feedback(f"id-{i}", f"said {i}", "b") for i in range(30)]
    store_feedback(connection, head.uid, said, max_examples=MANY)
    connection.execute(schema.feedback.delete().where(schema.feedback.c.feedback_id == "id-29"))
    store_tail(connection, head, NewTail("f" * 64, "last", ("block",), b"t" * 5000, {}))
    hour = 3600 * 480_000
    add_usage(connection, {("acme", hour): Used(5, 1, 0.1, 0.25, 1 << 40)})
    add_audit_rows(connection, [AuditRow(0.5, "", "acme", "M", "r", "OK", "id", "grpc", "p", 0)])


def copy(source: Path | URL, target: Path | URL, *options: str) -> Result:
    places = [
        str(place) if isinstance(place, Path) else place.render_as_string(hide_password=False)
        for place in (source, target)
    ]
    return CliRunner().invoke(main, ["store", "copy", *places, *options])


def contents(database: Database) -> dict[str, list[sqlalchemy.Row[tuple[object, ...]]]]:
    def read(connection: Connection) -> dict[str, list[sqlalchemy.Row[tuple[object, ...]]]]:
        return {
            table.name: list(
                connection.execute(select(table).order_by(*table.primary_key.columns)).all()
            )
            for table in schema.metadata.sorted_tables
        }

    try:
        return asyncio.run(database.read(read))
    finally:
        database.close()


def test_store_goes_to_postgres_and_back_with_every_row(
    folder: Path, url: URL, tmp_path: Path
) -> None:
    there = copy(folder, url, "--json")
    assert there.exit_code == 0, there.output
    back = copy(url, tmp_path / "back", "--json")
    assert back.exit_code == 0, back.output
    tables = [json.loads(result.stdout)["tables"] for result in (there, back)]
    assert tables[0] == tables[1]
    assert tables[0]["examples"]["rows"] == 1230
    assert all(table["rows"] for name, table in tables[0].items() if name in ("tails", "audit"))
    before = contents(open_database(folder))
    assert before == contents(open_database(tmp_path / "pg", url, new_store=True))
    assert before == contents(open_database(tmp_path / "back"))


def test_numbers_go_on_where_they_were_and_counts_are_right(
    folder: Path, url: URL, tmp_path: Path
) -> None:
    last = max(row.id for row in contents(open_database(folder))["feedback"]) + 1  # it is deleted
    places: list[tuple[Path, URL | None]] = [(tmp_path / "pg", url), (tmp_path / "back", None)]
    for source, target in ((folder, url), (url, tmp_path / "back")):
        assert copy(source, target).exit_code == 0
    for place, address in places:
        database = open_database(place, address, new_store=True)

        def add(connection: Connection) -> tuple[int, int, int]:
            uid = connection.execute(select(schema.heads.c.uid)).scalar_one()
            new = [feedback("new", "text 0 ä 🙂", "b")]
            store_feedback(connection, uid, new, max_examples=MANY)
            add_examples(connection, uid, example("brand new", keep=True))
            number = connection.execute(select(func.max(schema.feedback.c.id))).scalar_one()
            return number, *connection.execute(
                select(schema.tenants.c.examples, schema.tenants.c.stored_bytes)
            ).one()

        number, examples, _ = asyncio.run(database.write(add))
        database.close()
        assert number == last + 1
        assert examples == 1231


def test_target_that_is_not_empty_is_refused_and_left_alone(
    folder: Path, url: URL, tmp_path: Path
) -> None:
    assert copy(folder, url).exit_code == 0
    again = copy(folder, url)
    assert again.exit_code == 1
    assert "is not empty" in again.stderr
    other = open_database(tmp_path / "other")
    asyncio.run(other.write(new_head))
    other.close()
    refused = copy(url, tmp_path / "other")
    assert refused.exit_code == 1
    assert "is not empty" in refused.stderr
    assert len(contents(open_database(tmp_path / "other"))["heads"]) == 1


def test_store_that_a_server_has_is_refused_at_either_end(
    folder: Path, url: URL, tmp_path: Path
) -> None:
    server = open_database(folder)
    refused = copy(folder, url)
    assert refused.exit_code == 1
    assert "in use by another server" in refused.stderr
    server.close()
    server = open_database(tmp_path / "pg", url, new_store=True)
    for source, target in ((folder, url), (url, tmp_path / "back")):
        refused = copy(source, target)
        assert refused.exit_code == 1
        assert "in use by a server" in refused.stderr
    server.close()
    assert copy(folder, url).exit_code == 0


def test_source_that_is_missing_or_of_another_release_is_refused(
    folder: Path, url: URL, tmp_path: Path
) -> None:
    missing = copy(tmp_path / "nowhere", url)
    assert missing.exit_code == 1
    assert "there is no store" in missing.stderr
    assert not (tmp_path / "nowhere").exists()
    empty = copy(url, tmp_path / "to")
    assert empty.exit_code == 1
    assert "has schema none" in empty.stderr
    engine = sqlalchemy.create_engine(f"sqlite:///{folder / 'trunkline.db'}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()
    old = copy(folder, url)
    assert old.exit_code == 1
    assert "has schema 0001" in old.stderr


def test_what_the_target_does_not_take_is_said_and_leaves_it_empty(
    folder: Path, url: URL, tmp_path: Path
) -> None:
    database = open_database(folder)
    noted = update(schema.examples).where(schema.examples.c.id == 700).values(group="a\0b")
    asyncio.run(database.write(lambda c: c.execute(noted).rowcount))
    database.close()
    refused = copy(folder, url)
    assert refused.exit_code == 1
    assert "rows of table examples are not taken" in refused.stderr
    assert not any(contents(open_database(tmp_path / "pg", url, new_store=True)).values())
    mended = update(schema.examples).values(group=None)
    database = open_database(folder)
    asyncio.run(database.write(lambda c: c.execute(mended).rowcount))
    database.close()
    assert copy(folder, url).exit_code == 0


def test_difference_that_is_read_back_is_an_error(
    folder: Path, url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rows._insert

    def forge(target: Connection, table: sqlalchemy.Table, new: Sequence[Any]) -> None:
        forged = {"label": "forged"} if table is schema.examples else {}
        real(target, table, [{**row, **forged} for row in new])

    monkeypatch.setattr(rows, "_insert", forge)
    refused = copy(folder, url)
    assert refused.exit_code == 1
    assert "table examples has 1230 rows of digest" in refused.stderr
    monkeypatch.undo()
    assert copy(folder, url).exit_code == 0  # as it has left nothing behind


def test_password_is_not_printed(tmp_path: Path) -> None:
    address = sqlalchemy.make_url(f"postgresql+psycopg://u:geheim@/db?host={tmp_path}")
    result = copy(address, tmp_path / "to")
    assert result.exit_code == 1
    assert "geheim" not in result.output


def test_copy_is_checked_as_its_source_is_and_what_was_changed_in_it_is_found(
    folder: Path, url: URL, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    address = url.render_as_string(hide_password=False)

    def found(place: str | Path) -> list[dict[str, str]]:
        status = check_main(place, as_json=True)
        document = json.loads(capsys.readouterr().out)
        assert status == int(bool(document["findings"]))
        findings: list[dict[str, str]] = document["findings"]
        return findings

    assert copy(folder, url).exit_code == 0
    there = found(address)
    assert [f["words"] for f in there] == [f["words"] for f in found(folder)]
    engine = connected(url)
    with engine.begin() as connection:
        connection.execute(
            update(schema.embeddings).where(schema.embeddings.c.id == 7).values(crc32=1)
        )
        connection.execute(update(schema.tenants).values(examples=3))
    engine.dispose()
    new = [f for f in found(address) if f not in there]
    assert [f["check"] for f in new] == ["embeddings", "counts"]
    assert "psql" in new[1]["remedy"]
    assert not any("sqlite3" in f["remedy"] for f in found(address))
    assert check_main(address.replace(str(url.database), "nowhere"), as_json=True) == 2


def test_store_is_brought_to_this_release_and_keeps_what_it_has(
    folder: Path, url: URL, tmp_path: Path
) -> None:
    def migrate(**more: Any) -> Result:
        return CliRunner().invoke(main, ["store", "migrate", *more.pop("words", ())], **more)

    address = url.render_as_string(hide_password=False)
    made = migrate(words=["--json"], env={"TRUNKLINE_STORE": address})
    assert made.exit_code == 0, made.output
    schema_of = json.loads(made.stdout)["schema"]
    assert copy(folder, url).exit_code == 0, "what was made is empty"
    again = migrate(words=[address])
    assert again.exit_code == 0, again.output
    assert schema_of in again.stdout
    assert copy(url, tmp_path / "back", "--json").exit_code == 0, "and what was there stays"
    nowhere = migrate(words=["postgresql+psycopg://nobody@127.0.0.1:9/none"])
    assert nowhere.exit_code == 1
    assert nowhere.stderr.startswith("error: store: ")


def test_store_is_brought_to_the_schema_by_a_command(url: URL, tmp_path: Path) -> None:
    address = url.render_as_string(hide_password=False)
    for place in (address, str(tmp_path / "folder"), address):
        done = CliRunner().invoke(main, ["store", "migrate", place])
        assert (done.exit_code, newest_revision() in done.stdout) == (0, True)
    assert contents(open_database(tmp_path / "server", url))["heads"] == []
    server = open_database(tmp_path / "server", url)
    with connected(url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0017'"))
    refused = CliRunner().invoke(main, ["store", "migrate", address])
    assert refused.exit_code == 1
    assert "in use by a server" in refused.stderr
    server.close()
