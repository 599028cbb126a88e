"""Every state that a data directory is found in: it serves, or one sentence says why not.

A refused start leaves every file as it was, and so does a check.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from service.check import check_main
from service.errors import DataDirectoryUnreadable, StartupError, StoreMissing
from service.serve import serve_main
from service.store.page_key import page_key
from service.store.sqlite import SqliteDatabase
from tests.service.store.damaged_stores import (
    INDEX,
    JOURNAL,
    STORE,
    Damage,
    both,
    crash,
    cut,
    empty_of_tables,
    its_parent_by_a_file,
    of_another_program,
    only_the_key,
    put,
    replace_by_file,
    replace_by_folder,
    replace_by_link,
    sql,
    the_folder_by_a_file,
    the_folder_by_a_link,
    without,
    write,
    zeros,
)
from tests.service.store.records import add_examples, add_version, example, new_head

NOBODY = 65534

pytestmark = pytest.mark.usefixtures("own_logging")


def fill(connection: Connection) -> None:
    head = new_head(connection)
    add_version(connection, head.uid, activate=True)
    add_examples(connection, head.uid, *(example(f"text {i}", "a", keep=True) for i in range(50)))


def count(connection: Connection, table: str) -> int:
    return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server leaves when it is stopped."""
    folder = tmp_path_factory.mktemp("template") / "data"
    database = SqliteDatabase(folder)
    asyncio.run(database.write(fill))
    database.close()
    page_key(folder)
    rows = folder / "activations" / ("0" * 64) / "uid-cut"
    rows.mkdir(parents=True)
    (rows / "000000.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "parent" / "data")


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted([folder, *folder.rglob("*")])
        if os.path.lexists(path)
    }


REFUSED: dict[str, tuple[Damage, str]] = {
    "the folder is a file": (the_folder_by_a_file, "it is no folder"),
    "the parent is a file": (its_parent_by_a_file, "it cannot be made: Not a directory"),
    "the folder is a dangling link": (the_folder_by_a_link, "No such file or directory"),
    "the store is a folder": (replace_by_folder(STORE), f"{STORE} in it is no file"),
    "the store is a dangling link": (replace_by_link(STORE), "is a link that leads nowhere"),
    "the journal is a folder": (replace_by_folder(JOURNAL), f"{JOURNAL} in it is no file"),
    "the lock is a folder": (replace_by_folder("lock"), "lock in it is no file"),
    "the reserve is a folder": (replace_by_folder("reserve"), "reserve in it is no file"),
    "activations are a file": (replace_by_file("activations"), "activations in it is no folder"),
    "tuning is a file": (replace_by_file("tuning"), "tuning in it is no folder"),
    "prometheus is a file": (replace_by_file("prometheus"), "prometheus in it is no folder"),
    "garbage header": (write(STORE, 0, os.urandom(100)), "does not begin as a database"),
    "garbage behind the name": (write(STORE, 16, b"\xff" * 84), "is damaged"),
    "garbage in the schema": (write(STORE, 100, b"\xff" * 3900), "is damaged"),
    "cut to half a header": (cut(STORE, 50), "is damaged"),
    "cut to a page": (cut(STORE, 4096), "is damaged"),
    "cut in the midst": (cut(STORE, 40_000), "is damaged"),
    "garbage journal": (both(crash, write(JOURNAL, 0, b"\xff" * 32)), "as a journal"),
    "zeros in the journal's head": (both(crash, write(JOURNAL, 0, b"\0" * 32)), "as a journal"),
    "zeros in the journal's page": (both(crash, write(JOURNAL, 0, b"\0" * 4096)), "as a journal"),
    "zeros in all of the journal": (both(crash, zeros(JOURNAL)), "as a journal"),
    "a bit of the journal's head": (both(crash, write(JOURNAL, 20, b"\xff")), "as a journal"),
    "a later release": (sql("UPDATE alembic_version SET version_num = '9999'"), "schema 9999"),
    "a later release, killed": (
        both(sql("UPDATE alembic_version SET version_num = '9999'"), crash),
        "schema 9999",
    ),
    "a later release, killed, without index": (
        both(sql("UPDATE alembic_version SET version_num = '9999'"), crash, without(INDEX)),
        "schema 9999",
    ),
    "two revisions": (sql("INSERT INTO alembic_version VALUES ('0001')"), "schema 0001 and"),
    "no revision": (sql("DELETE FROM alembic_version"), "schema none"),
    "no table of revisions": (sql("DROP TABLE alembic_version"), "of no known release"),
    "half-migrated": (sql("UPDATE alembic_version SET version_num = '0007'"), "duplicate column"),
    "a table is gone": (sql("DROP TABLE embeddings"), "table embeddings is not there"),
    "a column is gone": (sql("ALTER TABLE jobs DROP COLUMN spec"), "column spec of table jobs"),
    "another program's": (of_another_program, "of no known release"),
    "no store": (without(STORE), f"{STORE} in"),
    "empty store": (cut(STORE, 0), "is empty, although"),
    "store without tables": (empty_of_tables, "holds no table, although"),
    "journal without store": (
        both(crash, without(STORE)),
        f"({JOURNAL}, reserve, page-tokens.key, activations)",
    ),
    "only the key of a store": (only_the_key, "(page-tokens.key)"),
    "only the key and a store without tables": (
        both(empty_of_tables, only_the_key),
        "(page-tokens.key)",
    ),
}


@pytest.mark.parametrize("state", REFUSED)
def test_state_is_refused_in_one_sentence_and_stays_as_it_is(
    state: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damage, words = REFUSED[state]
    damage(folder)
    before = contents(folder.parent)
    if state != "half-migrated":  # which shows when the schema is brought up to date
        options = ["--rest-port", "0", "--grpc-port", "0"]
        assert serve_main(["--data-dir", str(folder), *options]) == 1
        printed = capfd.readouterr()
        assert printed.err.startswith("error: data_dir: ")
        assert words in printed.err
        assert printed.err.count("\n") == 1
        assert printed.out == ""
        assert contents(folder.parent) == before
    with pytest.raises(StartupError) as refused:
        SqliteDatabase(folder).close()
    assert words in str(refused.value)
    assert contents(folder.parent) == before


@pytest.mark.parametrize("state", REFUSED)
def test_check_of_what_is_refused_says_so_and_changes_nothing(
    state: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    REFUSED[state][0](folder)
    before = contents(folder.parent)
    status = check_main(folder, as_json=False)
    assert status in (1, 2)
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err + printed.out
    assert ("error: " in printed.err) == (status == 2)
    assert contents(folder.parent) == before


SERVED: dict[str, Damage] = {
    "as it was left": lambda folder: None,
    "killed": crash,
    "killed, without index": both(crash, without(INDEX)),
    "killed, garbage index": both(crash, write(INDEX, 0, os.urandom(4096))),
    "killed as the journal began": both(crash, write(JOURNAL, 0, b"\0" * 32), cut(JOURNAL, 32)),
    "index without journal": put(INDEX, b"\0" * 32768),
    "no lock": without("lock"),
    "no reserve": without("reserve"),
    "given reserve": cut("reserve", 0),
    "half-written activations": put("activations/000001.safetensors.part", b"half"),
    "no activations": lambda folder: shutil.rmtree(folder / "activations"),
    "readable by all": lambda folder: folder.chmod(0o755),
}


@pytest.mark.parametrize("state", SERVED)
async def test_state_is_served_with_all_that_was_stored(state: str, folder: Path) -> None:
    SERVED[state](folder)
    database = SqliteDatabase(folder)
    try:
        assert await database.read(count, "examples") == 50
        assert os.stat(folder / "reserve").st_size == database.reserve.nbytes == 1024 * 1024
        assert os.stat(folder).st_mode & 0o777 == 0o700
    finally:
        database.close()


@pytest.mark.parametrize("state", ["no store", "empty store", "store without tables"])
async def test_empty_store_beside_old_files_is_made_where_it_is_asked_for(
    state: str, folder: Path
) -> None:
    REFUSED[state][0](folder)
    with pytest.raises(StoreMissing, match="--new-store"):
        SqliteDatabase(folder).close()
    database = SqliteDatabase(folder, new_store=True)
    try:
        assert await database.read(count, "heads") == 0
    finally:
        database.close()
    SqliteDatabase(folder).close()  # from then on it is a store like any other


async def test_old_journal_is_no_part_of_a_new_store(folder: Path) -> None:
    both(crash, without(STORE, INDEX))(folder)
    database = SqliteDatabase(folder, new_store=True)
    try:
        assert await database.read(count, "heads") == 0
    finally:
        database.close()


@pytest.mark.parametrize("left", [[], ["lock"], ["lock", "prometheus"], [STORE, "lock"]])
def test_first_start_that_was_cut_off_is_no_lost_store(left: list[str], tmp_path: Path) -> None:
    for name in left:
        if name == "prometheus":
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).touch()
    SqliteDatabase(tmp_path).close()


def test_new_store_leaves_a_store_that_is_there_alone(folder: Path) -> None:
    database = SqliteDatabase(folder, new_store=True)
    try:
        with database._read_engine.connect() as connection:
            assert count(connection, "examples") == 50
    finally:
        database.close()


@contextmanager
def unprivileged(template: Path | None = None) -> Iterator[Path]:
    """A folder for a user whom rights apply to, with a copy of the template."""
    with tempfile.TemporaryDirectory() as made:
        if template is not None:
            shutil.copytree(template, Path(made) / "data")
        root = os.geteuid() == 0
        if root:
            for path in (Path(made), *Path(made).rglob("*")):
                os.chown(path, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(made)
        finally:
            if root:
                os.seteuid(0)


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("", 0o500, "it may not be read and written by user"),
        ("", 0o000, "it may not be read and written by user"),
        (STORE, 0o400, f"{STORE} may not be read and written by user"),
        (STORE, 0o000, f"{STORE} may not be read and written by user"),
        ("lock", 0o400, "lock may not be read and written by user"),
        ("activations", 0o500, "activations may not be read and written by user"),
    ],
)
def test_what_may_not_be_written_is_refused_by_name(
    name: str, mode: int, words: str, template: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with unprivileged(template) as made:
        folder = made / "data"
        before = contents(folder)
        (folder / name).chmod(mode)
        try:
            with pytest.raises(DataDirectoryUnreadable, match=words):
                SqliteDatabase(folder).close()
            status = check_main(folder, as_json=False)
            printed = capfd.readouterr()
            assert ("error: data_dir: " in printed.err) == (status == 2)
            assert "Traceback" not in printed.err
        finally:
            (folder / name).chmod(before[str(folder / name)][0])
        assert contents(folder) == before


def test_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("nobody but root can give a folder away")
    with unprivileged() as made:
        (made / "data").mkdir()
        os.seteuid(0)
        os.chown(made / "data", 12345, 12345)
        os.seteuid(NOBODY)
        with pytest.raises(DataDirectoryUnreadable, match="belongs to user 12345, and the server"):
            SqliteDatabase(made / "data").close()


def test_folder_that_cannot_be_made_is_refused() -> None:
    with unprivileged() as made:
        made.chmod(0o500)
        with pytest.raises(DataDirectoryUnreadable, match="cannot be made: Permission denied"):
            SqliteDatabase(made / "data").close()
        made.chmod(0o700)


def test_locked_store_is_refused_before_it_is_looked_at(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    database = SqliteDatabase(folder)
    try:
        before = contents(folder)
        assert serve_main(["--data-dir", str(folder), "--rest-port", "0"]) == 1
        assert capfd.readouterr().err.endswith("is in use by another server\n")
        assert contents(folder) == before
    finally:
        database.close()
