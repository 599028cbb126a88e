"""Puts a backup in the place of a store: built and checked beside it, then renamed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from service.access.operator_key import FILE as KEY_FILE
from service.access.operator_key import is_stale
from service.backup.copying import sync_file, sync_folder
from service.check.checks import run_checks
from service.check.findings import Finding, Store
from service.check.read_only import open_read_only
from service.errors import ServiceError, StartupError
from service.store.data_directory import (
    ACTIVATIONS,
    FILE,
    INDEX,
    JOURNAL,
    LOCK,
    RESTORING,
    TUNING,
    check_entries,
    lock_directory,
    make_folder,
)
from service.store.sqlite import SqliteDatabase
from service.store.sqlite.examination import examine
from service.store.sqlite.reserve import MIB
from trunkline.values.notices import Notice

CHUNK = 4 * MIB

_OF_A_STORE = (FILE, JOURNAL, INDEX, ACTIVATIONS, TUNING)
"""What is moved aside, in this order: without the first a server starts on none of the others."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a restore.

    Attributes:
        findings: what is wrong with the backup.
        notices: what could not be looked at.
        done: whether it took its place all the same, or because nothing is wrong.
        moved: where the store lies that it has replaced; None if there was none.
        stale_key: the file of an operator's key in the directory, if what was restored does not
            take it; None otherwise.
    """

    findings: list[Finding]
    notices: list[Notice]
    done: bool
    moved: Path | None = None
    stale_key: Path | None = None


class Progress(Protocol):
    """What a restore tells of itself."""

    def begin(self, name: str) -> None:
        """Begins a step of this name."""

    def advance(self, done: int, total: int) -> None:
        """Has done so much of so much of the step."""


def restore(
    file: Path, data_dir: Path, *, move_aside: bool, despite_findings: bool, progress: Progress
) -> Restored:
    """Makes a backup the store of a data directory that no server uses.

    It is copied into a folder within the directory, brought to this release's schema and checked
    there. The store of the directory is touched once all of that went well.

    Args:
        move_aside: whether a store that is there may be moved into a folder beside it.
        despite_findings: whether a backup with faults that a server can live with may be restored.

    Raises:
        StartupError: the directory is in use, or has a store; the backup cannot be read, is of a
            later release, or is damaged.
    """
    make_folder(data_dir)
    check_entries(data_dir)
    lock = lock_directory(data_dir)
    try:
        _give_to_owner(data_dir / LOCK, data_dir)
        data_dir.chmod(0o700)
        if not move_aside and any(_is_there(data_dir / name) for name in (FILE, JOURNAL)):
            raise StartupError(
                f"data_dir: {data_dir} has a store; say --move-aside to keep it in a folder there, "
                "or name another directory",
                field="data_dir",
                limit="a directory without a store",
                value=data_dir,
            )
        built = data_dir / RESTORING
        shutil.rmtree(built, ignore_errors=True)
        built.mkdir(mode=0o700)
        restored = _restore(file, data_dir, built, move_aside, despite_findings, progress)
        shutil.rmtree(built)
        return restored
    except OSError as error:
        raise StartupError(
            f"file: {file} cannot be restored into {data_dir}: {error.strerror}",
            field="file",
            value=file,
        ) from error
    finally:
        os.close(lock)


def _restore(
    file: Path,
    data_dir: Path,
    built: Path,
    move_aside: bool,
    despite_findings: bool,
    progress: Progress,
) -> Restored:
    try:
        with _naming(file):
            _copy(file, built / FILE, progress)
            _upgrade(built)
        notices: list[Notice] = []
        with open_read_only(built) as connection:
            store = Store(connection, built, progress.advance, notices)
            findings = list(run_checks(store, progress.begin))
            stale = data_dir / KEY_FILE if is_stale(connection, data_dir) else None
    except BaseException:
        shutil.rmtree(built, ignore_errors=True)
        raise
    if findings and not despite_findings:
        return Restored(findings, notices, done=False)
    _give_to_owner(built / FILE, data_dir)
    sync_file(built / FILE)
    moved = _move_aside(data_dir) if move_aside else None
    (built / FILE).replace(data_dir / FILE)
    sync_folder(data_dir)
    return Restored(findings, notices, done=True, moved=moved, stale_key=stale)


def _copy(file: Path, copy: Path, progress: Progress) -> None:
    journal = file.with_name(f"{file.name}-wal")
    if _is_there(journal):
        raise StartupError(
            f"{journal.name} lies beside it, so it is not all of a store: let `trunkline backup` "
            "make one file of it"
        )
    progress.begin("copying")
    total, done = file.stat().st_size, 0
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with file.open("rb") as source, os.fdopen(descriptor, "wb") as target:
        while chunk := source.read(CHUNK):
            target.write(chunk)
            done += len(chunk)
            progress.advance(done, total)


def _upgrade(built: Path) -> None:
    """Brings the copy to this release's schema, as the start of a server does."""
    if not _is_there(built / FILE):
        raise StartupError("it is empty")
    examine(built)
    with closing(sqlite3.connect(built / FILE)) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables == (0,):
        raise StartupError("it holds no table")
    SqliteDatabase(built, reserve_bytes=MIB).close()


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Lets errors about the copy speak of the file that it was made of."""
    try:
        yield
    except ServiceError as error:
        words = error.message.removeprefix("data_dir: ")
        raise StartupError(
            f"file: {file} cannot be restored: {words}", field="file", limit=error.limit, value=file
        ) from error


def _move_aside(data_dir: Path) -> Path | None:
    there = [name for name in _OF_A_STORE if os.path.lexists(data_dir / name)]
    if not there:
        return None
    folder = data_dir / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    folder.mkdir(mode=0o700)
    _give_to_owner(folder, data_dir)
    for name in there:
        (data_dir / name).replace(folder / name)
    sync_folder(folder)
    sync_folder(data_dir)
    return folder


def _give_to_owner(path: Path, data_dir: Path) -> None:
    """Lets the server's user have what root has made."""
    if os.geteuid() == 0:
        owner = data_dir.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
