"""The store on both of its engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from service.store import Database
from service.store.postgres import PostgresDatabase
from service.store.sqlite import SqliteDatabase
from tests.postgres import Postgres, PostgresProcess
from tests.service.conftest import copy_store

OpenStore = Callable[..., PostgresDatabase]


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


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[URL]:
    with postgres.store() as made:
        yield made


@pytest.fixture
def open_store(postgres_url: URL, tmp_path: Path) -> Iterator[OpenStore]:
    opened: list[PostgresDatabase] = []

    def open_one(folder: str = "data", **options: Any) -> PostgresDatabase:
        opened.append(
            PostgresDatabase(tmp_path / folder, options.pop("url", postgres_url), **options)
        )
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[PostgresProcess]:
    """A server that a test stops, crashes and starts again."""
    process = PostgresProcess()
    process.start()
    yield process
    process.start_again()
    process.remove()
