"""A store to be backed up, and to be restored."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from service.backup.copying import back_up
from tests.service.conftest import Trained


@pytest.fixture
async def data_dir(trained: Trained, tmp_path: Path) -> Path:
    """A closed store with a trained head."""
    folder = tmp_path / "data"
    shutil.copytree(await trained("ridge"), folder)
    return folder


@pytest.fixture
def backup(data_dir: Path, tmp_path: Path) -> Path:
    """A backup of it."""
    file = tmp_path / "backup.db"
    back_up(data_dir, file, replace=False, advance=lambda done, total: None)
    return file
