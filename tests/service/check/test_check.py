"""`trunkline check` reads a whole store, names what is wrong, and changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from service.check import check_main
from service.check.checks import CHECKS
from service.store import open_database
from tests.service.check.stores import (
    Found,
    change,
    contents,
    only,
)
from tests.service.pictures import PICTURES, rows
from tests.service.server import StartServer, texts
from tests.service.tail_heads import tail_head
from tests.service.tiny_backbone import TinyImageBackbone
from trunkline.digest import image_digest, text_digest
from trunkline.v1 import common_pb2, heads_pb2


def run(data_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trunkline", "check", str(data_dir), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_sound_store_is_clean_and_stays_byte_for_byte(data_dir: Path, found: Found) -> None:
    before = contents(data_dir)
    assert found(data_dir, status=0) == []
    assert contents(data_dir) == before


@pytest.mark.costly
async def test_store_of_a_running_server_can_be_checked(
    start_server: StartServer, tmp_path: Path
) -> None:
    async with start_server(data_dir=tmp_path / "live") as server:
        await tail_head(server)
        ended = await asyncio.to_thread(run, tmp_path / "live", "--json")
        assert (ended.returncode, json.loads(ended.stdout)["findings"]) == (0, [])
        assert (await server.add({"more": "red"})).added == 1  # the server goes on


def test_store_that_a_crash_left_is_read_with_its_journal(
    data_dir: Path, tmp_path: Path, found: Found
) -> None:
    crashed = tmp_path / "crashed"
    with closing(sqlite3.connect(data_dir / "trunkline.db", isolation_level=None)) as database:
        database.execute("UPDATE heads SET active_version = 99")
        shutil.copytree(data_dir, crashed)
    before = contents(crashed)
    assert "trunkline.db-wal" in " ".join(before)
    assert {finding["check"] for finding in found(crashed)} == {"active_versions"}
    assert contents(crashed) == before
    (crashed / "trunkline.db-shm").unlink()
    assert check_main(crashed, as_json=False) == 2


def test_read_only_folder_can_be_checked(data_dir: Path, found: Found) -> None:
    data_dir.chmod(0o500)
    try:
        assert found(data_dir, status=0) == []
    finally:
        data_dir.chmod(0o700)


@pytest.mark.parametrize("kind", ["missing", "empty", "a file"])
def test_what_is_no_data_directory_ends_with_two(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nothing"
    if kind == "empty":
        path.mkdir()
    elif kind == "a file":
        path.write_text("no store")
    assert check_main(path, as_json=True) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: data_dir: ")
    assert json.loads(printed.out)["error"]["message"].startswith("data_dir: ")
    assert path.exists() == (kind != "missing")


@pytest.fixture
async def with_pictures(start_server: StartServer, tmp_path: Path) -> Path:
    """A head with kept pictures, one of which was damaged when it was embedded."""
    folder = tmp_path / "pictures"
    async with start_server(data_dir=folder, backbone=TinyImageBackbone()) as server:
        await server.create(keep_inputs=True)
        assert (await server.add_rows(*rows(PICTURES))).added == len(PICTURES)
    kept = common_pb2.Input(image=damaged()).SerializeToString()
    before, after = image_digest(PICTURES[0][0]), image_digest(damaged())
    change(
        folder, "UPDATE examples SET input = ?, digest = ? WHERE digest = ?", kept, after, before
    )
    change(folder, "UPDATE embeddings SET digest = ? WHERE digest = ?", after, before)
    return folder


def damaged() -> bytes:
    raw = PICTURES[0][0]
    at = len(raw) // 2
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def test_kept_picture_that_was_damaged_is_named_with_what_to_do(
    with_pictures: Path, found: Found
) -> None:
    (finding,) = found(with_pictures)
    digest = image_digest(damaged())
    assert (finding["check"], finding["head"]) == ("kept_inputs", "acme/defects")
    assert (finding["digest"], finding["label"]) == (digest, "red")
    assert "truncated or corrupt" in finding["words"]
    assert finding["remedy"].startswith(f"trunkline forget acme/defects {digest}")


@pytest.mark.costly
def test_command_line_prints_findings_and_exits_with_one(with_pictures: Path) -> None:
    ended = run(with_pictures)
    assert ended.returncode == 1
    digest = image_digest(damaged())
    assert f"kept_inputs: acme/defects, {digest}, label red: it was embedded" in ended.stdout
    assert f"trunkline forget acme/defects {digest}" in ended.stdout
    assert "found: 1" in ended.stderr


def test_kept_input_that_is_another_or_unreadable_is_found(data_dir: Path, found: Found) -> None:
    other = common_pb2.Input(text="something else").SerializeToString()
    one, two = text_digest("red 1"), text_digest("red 2")
    change(data_dir, "UPDATE examples SET input = ? WHERE digest = ?", other, one)
    change(data_dir, "UPDATE examples SET input = ? WHERE digest = ?", b"\xff\xff", two)
    findings = {finding["digest"]: finding["words"] for finding in found(data_dir)}
    assert set(findings) == {one, two}
    assert "another digest" in findings[one]
    assert "cannot be read" in findings[two]


async def test_damaged_capture_is_found(
    start_server: StartServer, tmp_path: Path, found: Found
) -> None:
    folder = tmp_path / "captures"
    async with start_server(data_dir=folder) as server:
        await server.create(capture=heads_pb2.Capture(random_share=1.0))
        await server.add({"red 1": "red", "red 2": "red", "blue 1": "blue", "blue 2": "blue"})
        await server.train()
        await server.predict(*texts("kept well", "kept badly"))
    assert found(folder, status=0) == []
    other = common_pb2.Input(text="something else").SerializeToString()
    digest = text_digest("kept badly")
    change(folder, "UPDATE captures SET input = ? WHERE digest = ?", other, digest)
    finding = only(found(folder), "kept_inputs")
    assert (finding["head"], finding["digest"]) == ("acme/defects", digest)
    assert "another digest" in finding["words"]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("ALTER TABLE examples RENAME COLUMN own_label TO other", "column own_label of table"),
        ("DROP TABLE embeddings", "table embeddings is not there"),
        ("INSERT INTO alembic_version VALUES ('0001')", "0001 and"),
        ("DELETE FROM alembic_version", "of no revision"),
    ],
)
def test_schema_that_is_not_what_it_says_is_found(
    statement: str, words: str, data_dir: Path, found: Found
) -> None:
    with closing(sqlite3.connect(data_dir / "trunkline.db", isolation_level=None)) as database:
        database.execute("PRAGMA foreign_keys = off")
        database.execute(statement)
    finding = only(found(data_dir), "schema")
    assert words in finding["words"]
    assert "backup" in finding["remedy"]


def test_damaged_activations_are_found(data_dir: Path, found: Found) -> None:
    with closing(sqlite3.connect(data_dir / "trunkline.db")) as database:
        (uid,) = database.execute("SELECT uid FROM heads").fetchone()
    folder = data_dir / "activations" / ("0" * 64) / f"{uid}-cut"
    folder.mkdir(parents=True)
    (folder / "000000.safetensors").write_bytes(b"cut off")
    assert only(found(data_dir), "activations")["head"] == "acme/defects"


def test_damaged_pages_are_found(data_dir: Path, found: Found) -> None:
    file = data_dir / "trunkline.db"
    raw = bytearray(file.read_bytes())
    for page in range(8192, len(raw) - 4096, 4096):
        raw[page : page + 64] = os.urandom(64)
    file.write_bytes(raw)
    assert "integrity" in {finding["check"] for finding in found(data_dir)}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("garbage in the list", "freelist"),
        ("a list that is lost", "is never used"),
        ("a page of a table in the list", "2nd reference to page"),
    ],
)
def test_free_pages_that_are_damaged_are_found(
    damage: str, words: str, data_dir: Path, found: Found
) -> None:
    file = data_dir / "trunkline.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("CREATE TABLE filler (bytes)")
        database.execute("INSERT INTO filler VALUES (zeroblob(100000))")
        database.execute("DROP TABLE filler")
        (used,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'heads'"
        ).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    raw = bytearray(file.read_bytes())
    trunk = size * (int.from_bytes(raw[32:36], "big") - 1)
    assert trunk > 0
    if damage == "garbage in the list":
        raw[trunk : trunk + size] = b"\xff" * size
    elif damage == "a list that is lost":
        raw[32:40] = bytes(8)
    else:
        raw[trunk + 8 : trunk + 12] = used.to_bytes(4, "big")
    file.write_bytes(raw)
    findings = found(data_dir)
    assert {finding["check"] for finding in findings} == {"integrity"}
    assert any(words in finding["words"] for finding in findings)
    assert all("VACUUM INTO" in finding["remedy"] for finding in findings)
    assert len(findings) <= 100


def test_each_table_that_cannot_be_read_is_named(data_dir: Path, found: Found) -> None:
    file = data_dir / "trunkline.db"
    with closing(sqlite3.connect(file)) as database:
        roots = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name IN ('embeddings', 'tails')"
        ).fetchall()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as store:
        for (root,) in roots:
            store.seek((root - 1) * size)
            store.write(b"\xff" * size)
    words = [finding["words"] for finding in found(data_dir) if finding["check"] == "integrity"]
    assert any("table embeddings: " in line for line in words)
    assert any("table tails: " in line for line in words)


def test_file_that_is_no_store_is_found(tmp_path: Path, found: Found) -> None:
    (tmp_path / "trunkline.db").write_bytes(b"no database at all" * 300)
    assert {finding["check"] for finding in found(tmp_path)} == {"schema", "integrity"}


def test_reference_that_leads_nowhere_is_found(data_dir: Path, found: Found) -> None:
    change(data_dir, "DELETE FROM tenants")
    words = {finding["words"] for finding in found(data_dir) if finding["check"] == "integrity"}
    assert "row 1 of heads refers to one of tenants that is not there" in words


@pytest.mark.parametrize(
    ("revision", "words"), [("0001", "bring"), ("9999", "the release that wrote it")]
)
def test_other_schema_is_said_and_its_tables_are_left_alone(
    revision: str, words: str, data_dir: Path, found: Found
) -> None:
    change(data_dir, "UPDATE alembic_version SET version_num = ?", revision)
    change(data_dir, "UPDATE heads SET active_version = 7")
    finding = only(found(data_dir), "schema")
    assert revision in finding["words"]
    assert words in finding["remedy"]


def test_check_takes_no_lock_that_a_server_wants(data_dir: Path, found: Found) -> None:
    assert found(data_dir, status=0) == []
    open_database(data_dir).close()


def test_every_check_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert all(f"\n| `{name}` |" in page for name in (check.name for check in CHECKS))
