"""A store and an application for whoever wants one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.application import Application
from service.config import ServerSettings, load_settings
from service.extraction import local
from service.store import Database
from tests.service.doubles import FINGERPRINT, TinyBackbone
from tests.service.house import House, Open


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def open_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Starts an application on one data directory, again and again if a test wants that."""

    @asynccontextmanager
    async def start(fingerprint: str = FINGERPRINT, **values: Any) -> AsyncIterator[House]:
        backbone = TinyBackbone()
        backbone.fingerprint = fingerprint
        monkeypatch.setattr(local, "load_backbone", lambda name, **_: backbone)
        settings = load_settings(
            ServerSettings, data_dir=tmp_path, backbone="tiny/text", fit_threads=1, **values
        )
        application = Application(settings)
        try:
            await application.start()
            yield House(application, backbone)
        finally:
            await application.close()

    return start


@pytest.fixture
async def house(open_house: Open) -> AsyncIterator[House]:
    async with open_house() as opened:
        yield opened
