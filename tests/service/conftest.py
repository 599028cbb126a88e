from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "data")
    yield opened
    opened.close()
