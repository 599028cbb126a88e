"""The disk of PostgreSQL is full: what would grow is refused, and nothing is lost or half made."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, func, select

from service.errors import StoreFull
from service.store import schema
from service.store.examples import NewExample
from service.store.postgres import PostgresDatabase
from tests.postgres import PostgresProcess
from tests.service.store.records import add_examples, example, new_head

MIB = 1 << 20
SMALL, ENOUGH = 32 * MIB, 64 * MIB
LONG = 2_000_000
"""Characters of an input, which compress by half at most."""
MOST = 100


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk that PostgreSQL may write to; the test is skipped where none can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    folder.mkdir()
    size = f"size={SMALL},mode=777"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=False
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk(own: PostgresProcess) -> Iterator[Path]:
    with small_disk(own.folder / "small") as folder:
        yield folder


@pytest.fixture
def url(own: PostgresProcess, disk: Path) -> URL:
    """Of a database whose tables lie on the small disk, and whose log does not."""
    place = disk / "tables"
    place.mkdir()
    shutil.chown(place, "nobody", "nogroup")
    own.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
    own.execute("CREATE DATABASE small TEMPLATE template0 TABLESPACE small")
    return own.url.set(database="small")


def count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(schema.examples)) or 0


def large() -> NewExample:
    """An example that nothing makes smaller."""
    return example(os.urandom(LONG // 2).hex(), "a", keep=True)


async def fill(database: PostgresDatabase, uid: str) -> int:
    """Adds examples until one is refused; returns how many were not."""
    for stored in range(MOST):
        try:
            await database.write(add_examples, uid, large())
        except StoreFull as error:
            assert "the disk of PostgreSQL is full" in str(error)  # noqa: PT017
            return stored
    raise AssertionError("the disk does not become full")


async def test_full_disk_refuses_what_grows_and_takes_it_again_when_there_is_room(
    url: URL, disk: Path, tmp_path: Path
) -> None:
    database = PostgresDatabase(tmp_path / "data", url, connections=4)
    try:
        uid = (await database.write(new_head)).uid
        stored = await fill(database, uid)
        assert stored
        assert await database.read(count) == stored
        writes = (database.write(add_examples, uid, large()) for _ in range(4))
        refused = await asyncio.gather(*writes, return_exceptions=True)
        assert {type(error) for error in refused} == {StoreFull}
        assert await database.read(count) == stored
        command = ["mount", "-o", f"remount,size={ENOUGH}", str(disk)]
        await asyncio.to_thread(subprocess.run, command, check=True)
        await database.write(add_examples, uid, large())
        assert await database.read(count) == stored + 1
    finally:
        database.close()
