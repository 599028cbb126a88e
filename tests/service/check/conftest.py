"""A store with something of every kind, and what a check finds in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.check import check_main
from tests.service.check.stores import (
    WORDS,
    Found,
)
from tests.service.server import StartServer
from tests.service.tail_heads import tail_head


@pytest.fixture
def found(capsys: pytest.CaptureFixture[str]) -> Found:
    """What is found in a data directory."""

    def found(data_dir: Path, status: int = 1) -> list[dict[str, Any]]:
        capsys.readouterr()  # what the server printed that made the store
        assert check_main(data_dir, as_json=True) == status
        document = json.loads(capsys.readouterr().out)
        assert document["data_dir"] == str(data_dir)
        findings: list[dict[str, Any]] = document["findings"]
        assert all(finding["words"] and finding["remedy"] for finding in findings)
        return findings

    return found


@pytest.fixture
async def data_dir(start_server: StartServer, tmp_path: Path) -> Path:
    """A closed store: a head with kept inputs and a tail, one of pictures."""
    folder = tmp_path / "data"
    async with start_server(data_dir=folder) as server:
        await tail_head(server)
        await server.add({WORDS: "red", "not labelled": None})
    return folder
