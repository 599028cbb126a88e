"""A backup is a whole store of one moment, or no file."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from service.backup import backup_main, copying
from service.backup.copying import back_up
from service.errors import DataDirectoryDamaged, DataDirectoryUnreadable, StartupError
from tests.service.check.stores import contents
from tests.service.store.damaged_stores import STORE, write

CUT_SHORT = """
import os, pathlib, signal, sys
from service.backup import copying
copying.PAGES = 1
data_dir, file = map(pathlib.Path, sys.argv[1:])
kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)
copying.back_up(data_dir, file, replace=True, advance=kill)
"""


def quiet(done: int, total: int) -> None:
    """Says nothing of the progress."""


def rows(store: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as opened:
        names = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: opened.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names}


def hidden(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


def test_backup_holds_the_store_alone_and_its_owner_alone_reads_it(
    data_dir: Path, tmp_path: Path
) -> None:
    (data_dir / "operator.key").write_text("tlk_secret\n")
    before, file = contents(data_dir), tmp_path / "backup.db"
    written = back_up(data_dir, file, replace=False, advance=quiet)
    assert contents(data_dir) == before
    assert rows(file) == rows(data_dir / STORE)
    assert (written, stat.S_IMODE(file.stat().st_mode)) == (file.stat().st_size, 0o600)
    assert b"tlk_secret" not in file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.db", "data"]


def test_backup_is_of_the_moment_when_it_began_whatever_is_written_meanwhile(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGES", 1)
    before, file, steps = rows(data_dir / STORE), tmp_path / "backup.db", []
    with closing(sqlite3.connect(data_dir / STORE, isolation_level=None)) as writer:
        assert writer.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)

        def write_meanwhile(done: int, total: int) -> None:
            steps.append(done)
            writer.execute("INSERT INTO tenants (name, created_at) VALUES (?, 0)", [f"t{done}"])

        back_up(data_dir, file, replace=False, advance=write_meanwhile)
        assert len(rows(data_dir / STORE)["tenants"]) == len(before["tenants"]) + len(steps)
    assert steps == sorted(set(steps))  # it did not begin anew
    assert rows(file) == before


def test_killed_backup_leaves_no_file_and_the_next_one_cleans_up(
    data_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    file = folder / "nightly [1].db"
    command = [sys.executable, "-c", CUT_SHORT, str(data_dir), str(file)]
    assert subprocess.run(command, check=False).returncode == -9
    assert not file.exists()
    (left,) = hidden(folder)
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    back_up(data_dir, file, replace=False, advance=quiet)
    assert os.listdir(folder) == [file.name]
    before = file.read_bytes()
    assert subprocess.run(command, check=False).returncode == -9
    assert file.read_bytes() == before


def test_backup_leaves_another_that_is_under_way_alone(data_dir: Path, tmp_path: Path) -> None:
    file, within = tmp_path / "backup.db", list[int]()

    def another(done: int, total: int) -> None:
        if not within:
            within.append(done)
            back_up(data_dir, file, replace=True, advance=quiet)

    back_up(data_dir, file, replace=True, advance=another)
    assert within
    assert rows(file) == rows(data_dir / STORE)
    assert not hidden(tmp_path)


def test_file_that_is_there_is_replaced_only_when_that_is_said(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "backup.db"
    file.write_text("dear")
    assert backup_main(file, data_dir, replace=False, as_json=False) == 1
    assert f"{file} is there already" in capsys.readouterr().err
    assert backup_main(file, data_dir, replace=False, as_json=True) == 1
    assert f"{file} is there already" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert file.read_text() == "dear"
    assert backup_main(file, data_dir, replace=True, as_json=False) == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"wrote {file}")
    assert "what is forgotten from now on stays in it" in told.err
    assert rows(file) == rows(data_dir / STORE)


def test_no_backup_lies_within_the_data_directory(data_dir: Path) -> None:
    for file in (data_dir / "backup.db", data_dir / STORE):
        with pytest.raises(StartupError, match="would be lost with it"):
            back_up(data_dir, file, replace=True, advance=quiet)


def test_what_is_no_sound_store_is_not_backed_up(data_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    with pytest.raises(DataDirectoryUnreadable, match="there is no"):
        back_up(tmp_path, file, replace=False, advance=quiet)
    size = (data_dir / STORE).stat().st_size
    for damage in (write(STORE, size // 2, b"\xff" * (size // 4)), write(STORE, 0, b"no store")):
        damage(data_dir)
        with pytest.raises(DataDirectoryDamaged):
            back_up(data_dir, file, replace=False, advance=quiet)
        assert not file.exists()
        assert not hidden(tmp_path)
