"""The store on both of its engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store import Database
from service.store.postgres import PostgresDatabase
from service.store.sqlite import SqliteDatabase
from tests.service.conftest import copy_store


@pytest.fixture
def sqlite_database(empty_store: Path, tmp_path: Path) -> Iterator[SqliteDatabase]:
    """An empty store on SQLite, for what it alone does."""
    copy_store(empty_store, tmp_path / "data")
    opened = SqliteDatabase(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty store; each test that takes it runs on both."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_database")
        return
    with request.getfixturevalue("postgres").store() as url:
        opened = PostgresDatabase(tmp_path / "data", url)
        yield opened
        opened.close()
