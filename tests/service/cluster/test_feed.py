"""Two servers in this process on one store: what one writes, the other learns before it answers."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from service.cluster.feed import ChangeFeed
from service.concurrency.tasks import UninterruptedTasks
from service.errors import NotFound
from service.store import Database, change_feed, open_database
from service.store.changes import Changed, changed_in
from service.store.data_directory import CLUSTER, lock_directory
from service.store.sqlite.data_version import DataVersion


@dataclass
class Server:
    """A database with its feed, and what its followers were told.

    Attributes:
        woken: how often it told the others that there is more.
    """

    database: Database
    feed: ChangeFeed
    told: list[Changed] = field(default_factory=list)
    woken: list[None] = field(default_factory=list)


def change(connection: Connection, head: str) -> None:
    changed_in(connection).heads.add(head)


def change_nothing(connection: Connection) -> None:
    pass


def fail(connection: Connection) -> None:
    changed_in(connection).heads.add("failed")
    raise NotFound("it is not there")


@pytest.fixture
def data_dir(empty_store: Path, tmp_path: Path) -> Path:
    """A store that was prepared for several."""
    (tmp_path / CLUSTER).mkdir()
    shutil.copy(empty_store, tmp_path)
    return tmp_path


@pytest.fixture
async def servers(data_dir: Path) -> AsyncIterator[tuple[Server, Server]]:
    lock, tasks, opened, versions = lock_directory(data_dir), UninterruptedTasks(), [], []
    for name in ("one", "two"):
        database = open_database(data_dir, lock=lock)
        version, woken = DataVersion(data_dir), list[None]()
        feed = ChangeFeed(database, name, version, partial(woken.append, None), tasks)
        opened.append(Server(database, feed, woken=woken))
        versions.append(version)
        database.follow(opened[-1].told.append)
        await feed.start()
    one, two = opened
    yield one, two
    await tasks.close()
    for version in versions:
        version.close()
    for server in opened:
        server.database.close()


async def test_server_learns_what_another_changed_before_it_answers(
    servers: tuple[Server, Server],
) -> None:
    one, two = servers
    for head in ("a", "b"):
        await one.database.write(change, head)
    assert two.told == []
    await two.feed.catch_up()
    assert two.told == [Changed(heads={"a"}), Changed(heads={"b"})]
    assert len(one.woken) == 2


async def test_own_changes_are_told_once_and_in_the_order_of_the_commits(
    servers: tuple[Server, Server],
) -> None:
    one, two = servers
    await two.database.write(change, "a")
    await one.database.write(change, "b")
    assert one.told == [Changed(heads={"a"}), Changed(heads={"b"})]
    await one.feed.catch_up()
    assert len(one.told) == 2


async def test_write_that_changes_nothing_or_fails_is_not_told(
    servers: tuple[Server, Server],
) -> None:
    one, two = servers
    await one.database.write(change_nothing)
    with pytest.raises(NotFound):
        await one.database.write(fail)
    await two.feed.catch_up()
    assert (one.told, two.told, one.woken) == ([], [], [])


async def test_server_that_missed_changes_is_told_to_trust_nothing(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "KEPT", 1)
    monkeypatch.setattr(change_feed, "TRIM_EVERY", 1)
    one, two = servers
    for head in ("a", "b", "c"):
        await one.database.write(change, head)
    await two.feed.catch_up()
    assert [changed.everything for changed in two.told] == [True]
    await one.database.write(change, "d")
    await two.feed.catch_up()
    assert two.told[1:] == [Changed(heads={"d"})]
