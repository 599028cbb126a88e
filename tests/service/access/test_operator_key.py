"""The first key of a server is in a file that its user alone can read, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.access.key_text import hash_of
from service.access.operator_key import FILE, ensure_key
from service.errors import StartupError
from service.store import Database
from service.store import keys as stored_keys


async def test_first_key_is_in_a_file_of_its_owners_and_not_in_the_log(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await ensure_key(database, tmp_path)
    path = tmp_path / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text().strip()
    made = await database.read(stored_keys.find_key, hash_of(text))
    assert made is not None
    assert made.roles == ("operate",)
    shown = "".join(capsys.readouterr())
    assert str(path) in shown
    assert text not in shown


async def test_second_start_makes_no_other_key(database: Database, tmp_path: Path) -> None:
    await ensure_key(database, tmp_path)
    (tmp_path / FILE).unlink()
    await ensure_key(database, tmp_path)
    assert not (tmp_path / FILE).exists()
    assert len(await database.read(stored_keys.list_keys, None, 0, 9)) == 1


@pytest.mark.parametrize("name", [FILE, "operator.part"])
async def test_link_in_its_place_leads_the_key_nowhere(
    database: Database, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("as it was")
    outside.chmod(0o644)
    (tmp_path / name).symlink_to(outside)
    await ensure_key(database, tmp_path)
    assert outside.read_text() == "as it was"
    assert not (tmp_path / FILE).is_symlink()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


async def test_key_that_cannot_be_written_is_not_made(database: Database, tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(StartupError):
        await ensure_key(database, tmp_path)
    assert not await database.read(stored_keys.has_keys)
