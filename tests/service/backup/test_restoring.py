"""A backup becomes a store whole and checked, or nothing is changed."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.access.key_in_store import create_operator_key
from service.access.key_text import new_text
from service.backup import backup_main, restore_main
from service.errors import StoreMissing
from service.store import open_database
from tests.service.check.stores import change, contents
from tests.service.learning_head import OpenLearningHead, around
from tests.service.server import HEAD, StartServer
from tests.service.store.damaged_stores import STORE
from tests.service.store.earlier_stores import store_of

Refused = Callable[..., str]


def test_operators_key_that_the_restored_store_does_not_take_is_told(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, good = create_operator_key(data_dir, "", None)
    file = tmp_path / "with-a-key.db"
    assert backup_main(file, data_dir, replace=False, as_json=False) == 0
    for text, told in ((good, False), (new_text(), True)):
        folder = tmp_path / str(told)
        folder.mkdir()
        (folder / "operator.key").write_text(f"{text}\n")
        assert restored(file, folder) == 0
        assert ("not one of this store" in capsys.readouterr().err) == told
        assert restored(file, folder, move_aside=True, as_json=True) == 0
        stale = json.loads(capsys.readouterr().out)["stale_key"]
        assert stale == (str(folder / "operator.key") if told else None)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """What is said of a restore that is refused, and changes nothing."""

    def refused(file: Path, folder: Path, **options: bool) -> str:
        before = contents(folder)
        assert restored(file, folder, **options) == 1
        after = contents(folder)
        after.pop(str(folder / "lock"), None)
        before.pop(str(folder / "lock"), None)
        assert after == before
        assert not (folder / ".restoring").exists()
        told = capsys.readouterr()
        return told.out + told.err

    return refused


def restored(file: Path, folder: Path, **options: bool) -> int:
    values: dict[str, Any] = {"move_aside": False, "despite_findings": False, "as_json": False}
    return restore_main(file, folder, **(values | options))


def execute(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as opened:
        opened.execute(statement)


async def test_restored_server_answers_as_the_one_that_was_backed_up(
    open_learning_head: OpenLearningHead, start_server: StartServer, tmp_path: Path
) -> None:
    file, folder, asked = tmp_path / "backup.db", tmp_path / "restored", around("red", 3, seed=9)
    async with open_learning_head() as head:
        before = await head.probabilities(asked)
        assert backup_main(file, tmp_path / "live", replace=False, as_json=False) == 0
    assert restored(file, folder) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["lock", STORE]
    async with start_server(data_dir=folder) as server:
        again = await type(head)(server, HEAD).probabilities(asked)
    assert (again == before).all()


def test_directory_in_use_is_left_alone(
    data_dir: Path, backup: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = open_database(data_dir)
    try:
        assert restored(backup, data_dir, move_aside=True) == 1
    finally:
        database.close()
    assert "is in use by another server" in capsys.readouterr().err


def test_store_that_is_there_is_moved_aside_only_when_that_is_said(
    data_dir: Path, backup: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    change(data_dir, "UPDATE tenants SET name = 'later'")
    assert "has a store; say --move-aside" in refused(backup, data_dir)
    assert restored(backup, data_dir, move_aside=True, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    moved = Path(document["moved"])
    assert (document["restored"], moved.parent) == (True, data_dir)
    for folder, tenant in ((data_dir, "acme"), (moved, "later")):
        with closing(sqlite3.connect(folder / STORE)) as opened:
            assert opened.execute("SELECT name FROM tenants").fetchall() == [(tenant,)]
    open_database(data_dir).close()


def test_what_is_no_sound_backup_is_refused(backup: Path, tmp_path: Path, refused: Refused) -> None:
    folder, whole = tmp_path / "new", backup.read_bytes()
    folder.mkdir()

    def said(data: bytes) -> str:
        backup.write_bytes(data)
        return refused(backup, folder)

    assert "it is empty" in said(b"")
    assert "does not begin as a database" in said(b"dear diary" * 1000)
    assert "is damaged" in said(whole[: len(whole) // 2])
    middle = len(whole) // 2
    garbled = whole[:middle] + b"\xff" * 8192 + whole[middle + 8192 :]
    assert "nothing was restored" in (words := said(garbled)) or "is damaged" in words
    backup.unlink()
    execute(backup, "VACUUM")
    execute(backup, "PRAGMA user_version = 1")
    assert "it holds no table" in refused(backup, folder)
    execute(backup, "CREATE TABLE diary (dear)")
    assert "its tables are of no known release" in refused(backup, folder)


def test_backup_of_a_later_release_is_refused(
    backup: Path, tmp_path: Path, refused: Refused
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    execute(backup, "UPDATE alembic_version SET version_num = '9999'")
    assert "its store has schema 9999" in refused(backup, folder)


def test_backup_of_an_earlier_release_is_brought_up_to_date(tmp_path: Path) -> None:
    with store_of("0007", tmp_path):
        pass
    assert restored(tmp_path / STORE, tmp_path / "new") == 0
    open_database(tmp_path / "new").close()


def test_half_of_a_store_is_refused(data_dir: Path, tmp_path: Path, refused: Refused) -> None:
    (data_dir / f"{STORE}-wal").write_bytes(b"journal")
    folder = tmp_path / "new"
    folder.mkdir()
    assert "lies beside it" in refused(data_dir / STORE, folder)


def test_backup_with_faults_is_restored_only_when_that_is_said(
    backup: Path, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    execute(backup, "UPDATE versions SET safetensors = x'00'")
    said = refused(backup, folder)
    assert "weights: acme/defects, version 1" in said
    assert "nothing was restored; --despite-findings" in said
    assert restored(backup, folder, despite_findings=True) == 0
    told = capsys.readouterr()
    assert f"restored into {folder}" in told.out
    assert "keys that were revoked" in told.err


def test_restore_that_was_killed_midway_is_no_empty_store(backup: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    (folder / ".restoring").mkdir(parents=True)
    shutil.copy(backup, folder / ".restoring" / STORE)
    with pytest.raises(StoreMissing, match=r"\.restoring"):
        open_database(folder).close()
    assert restored(backup, folder) == 0
    (folder / ".restoring").mkdir()
    open_database(folder).close()
    assert not (folder / ".restoring").exists()
