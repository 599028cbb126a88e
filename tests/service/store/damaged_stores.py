"""What can happen to the files of a store while no server has it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

STORE, JOURNAL, INDEX = "trunkline.db", "trunkline.db-wal", "trunkline.db-shm"

SMALL = 4096
"""Bytes of a store without tables."""

Damage = Callable[[Path], None]


def write(name: str, at: int, data: bytes) -> Damage:
    def damage(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.seek(at)
            file.write(data)

    return damage


def cut(name: str, size: int) -> Damage:
    return lambda folder: os.truncate(folder / name, size)


def zeros(name: str) -> Damage:
    return lambda folder: write(name, 0, bytes((folder / name).stat().st_size))(folder)


def put(name: str, data: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return damage


def sql(*statements: str) -> Damage:
    def damage(folder: Path) -> None:
        with closing(sqlite3.connect(folder / STORE, isolation_level=None)) as database:
            for statement in statements:
                database.execute(statement)

    return damage


def replace_by_folder(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return damage


def replace_by_file(name: str) -> Damage:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).write_bytes(b"a file")

    return damage


def replace_by_link(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(folder / "nothing")

    return damage


def the_folder_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"a file")


def its_parent_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder.parent)
    folder.parent.write_bytes(b"a file")


def the_folder_by_a_link(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder.parent / "nothing")


def crash(folder: Path) -> None:
    """Leaves a journal with something in it, as a server does that was killed."""
    aside = folder.with_name("aside")
    with closing(sqlite3.connect(folder / STORE, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("UPDATE heads SET name = 'renamed'")
        shutil.copytree(folder, aside)
    shutil.rmtree(folder)
    aside.rename(folder)


def both(*damages: Damage) -> Damage:
    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


def without(*names: str) -> Damage:
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


def empty_of_tables(folder: Path) -> None:
    (folder / STORE).unlink()
    sql("PRAGMA user_version = 1")(folder)


def of_another_program(folder: Path) -> None:
    (folder / STORE).unlink()
    sql("CREATE TABLE bookmarks (url)")(folder)


def only_the_key(folder: Path) -> None:
    """Leaves what is left of a lost store where the reserve was given away, and nothing was tuned.

    One without tables may be there.
    """
    shutil.rmtree(folder / "activations")
    os.truncate(folder / "reserve", 0)
    if (folder / STORE).stat().st_size > SMALL:
        (folder / STORE).unlink()
