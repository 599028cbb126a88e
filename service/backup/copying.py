"""Copies a store into one file while a server may be writing to it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from service.errors import DataDirectoryDamaged, DataDirectoryUnreadable, StartupError
from service.store.data_directory import FILE, JOURNAL
from service.store.sqlite import engines
from service.store.sqlite.examination import journal_is_sound

Advance = Callable[[int, int], None]
"""Is told how much of how much is done."""

PAGES = 2048
"""Pages that are copied at a time."""


def back_up(data_dir: Path, file: Path, *, replace: bool, advance: Advance) -> int:
    """Writes a store as it is at this moment into a file of mode 0600; returns its bytes.

    The file gets its name once it is whole and on the disk; until then it lies in a folder beside
    it, whose name begins with a dot. Such folders that were left by a process that was killed are
    deleted.

    Args:
        replace: whether a file of that name may be replaced.

    Raises:
        StartupError: there is no store that can be read, the file is there already, or it cannot
            be written.
    """
    if not (data_dir / FILE).is_file():
        raise DataDirectoryUnreadable(
            f"data_dir: there is no {FILE} in {data_dir}", field="data_dir", value=data_dir
        )
    if data_dir.resolve() in file.resolve().parents:
        raise _refused(file, f"lies in {data_dir} itself, and would be lost with it")
    if file.is_dir() or (file.exists() and not replace):
        raise _refused(file, "is there already")
    try:
        with _folder_beside(file) as folder:
            part = folder / "part"
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            _copy(data_dir, part, advance)
            sync_file(part)
            size = part.stat().st_size
            part.replace(file)
            sync_folder(file.parent)
            return size
    except sqlite3.Error as error:
        raise _refused(file, f"could not be made: {error}") from error
    except OSError as error:
        raise _refused(file, f"could not be made: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Has the names of the files in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(file: Path) -> None:
    """Has a file's bytes reach the disk."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _copy(data_dir: Path, part: Path, advance: Advance) -> None:
    """Copies what one read transaction sees, in the midst of writes by others.

    Without that transaction SQLite would begin anew whenever somebody writes
    (https://www.sqlite.org/backup.html). In the end the copy needs no journal beside it.
    """
    with _reading(data_dir) as source, closing(sqlite3.connect(part, isolation_level=None)) as copy:
        for pragma in ("journal_mode=OFF", "synchronous=OFF"):  # half a copy is thrown away
            copy.execute(f"PRAGMA {pragma}").fetchall()
        source.backup(
            copy, pages=PAGES, progress=lambda _, left, pages: advance(pages - left, pages)
        )
        copy.execute("PRAGMA journal_mode=DELETE").fetchall()
        (words,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if words != "ok":
            raise _damaged(data_dir, str(words))


@contextmanager
def _reading(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """Opens a store within a read transaction, with SQLite's own locks.

    Whoever may write, too, leaves no journal behind where nobody else has the store.

    Raises:
        DataDirectoryDamaged: what it holds would not be all that was stored.
        DataDirectoryUnreadable: it cannot be opened.
    """
    journal = data_dir / JOURNAL
    if journal.exists() and not journal_is_sound(journal):
        raise _damaged(data_dir, f"{JOURNAL} does not begin as a journal")
    address = f"file:{quote(str((data_dir / FILE).absolute()))}?mode=rw"
    try:
        source = sqlite3.connect(
            address, uri=True, isolation_level=None, timeout=engines.BUSY_TIMEOUT_SECONDS
        )
        with closing(source):
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchall()
            yield source
    except sqlite3.DatabaseError as error:
        if engines.is_damage(error):
            raise _damaged(data_dir, str(error)) from error
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CANTOPEN:
            raise DataDirectoryUnreadable(
                f"data_dir: the store in {data_dir} cannot be opened; ask as the server's user",
                field="data_dir",
                value=data_dir,
            ) from error
        raise


@contextmanager
def _folder_beside(file: Path) -> Iterator[Path]:
    """Makes a folder that this user alone may enter, and deletes it, and those of the killed."""
    before, after = f".{file.name}.", ".part"
    for left in file.parent.iterdir():
        if left.name.startswith(before) and left.name.endswith(after):
            with suppress(OSError), _locked(left):
                shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(after, before, file.parent))
    try:
        with _locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _refused(file: Path, why: str) -> StartupError:
    return StartupError(f"file: {file} {why}", field="file", value=file)


def _damaged(data_dir: Path, why: str) -> DataDirectoryDamaged:
    return DataDirectoryDamaged(
        f"data_dir: the store in {data_dir} is damaged: {why}; `trunkline check` says more",
        field="data_dir",
        limit="a sound store",
        value=data_dir,
    )
