"""Looks at a data directory before anything in it is changed, and refuses one that cannot serve.

Nothing is made, locked or written here, so that a refused start leaves every file as it was.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from service.errors import (
    DataDirectoryDamaged,
    DataDirectoryTooNew,
    StoreMissing,
)
from service.store import schema
from service.store.data_directory import (
    FILE,
    INDEX,
    JOURNAL,
    RESTORING,
    SIGNS,
    check_entries,
    check_lock,
    is_left,
    unreadable,
)
from service.store.upgrade import known_revisions, newest_revision

_AGAIN = "`trunkline check` says more; go back to a backup"


def examine(folder: Path, *, new_store: bool = False) -> None:
    """Returns if a server can open this data directory, or make a store in it.

    Args:
        new_store: an empty store is meant, although files of an earlier one lie there.

    Raises:
        DataDirectoryUnreadable: it cannot be read or written by this process.
        DataDirectoryLocked: another server has it.
        DataDirectoryDamaged: its store is damaged.
        DataDirectoryTooNew: a later release has written it.
        StoreMissing: files of an earlier store lie there, and the store does not.
    """
    check_entries(folder)
    check_lock(folder)
    path = (folder / FILE).resolve()
    if not path.exists() or path.stat().st_size == 0:
        left = [name for name in (JOURNAL, *SIGNS) if is_left(folder / name)]
        empty = "is empty" if path.exists() else "is missing"
    else:
        _check_header(path)
        if _holds_store(path, folder):
            return
        left = [name for name in SIGNS if is_left(folder / name)]
        empty = "holds no table"
    if left and not new_store:
        raise StoreMissing(
            f"data_dir: {FILE} in {folder} {empty}, although files of an earlier store are there "
            f"({', '.join(left)}); go back to a backup, or say --new-store to begin with an empty "
            "store",
            field="data_dir",
            limit="a store beside its files",
            value=folder,
        )


def drop_stale_journal(folder: Path) -> None:
    """Deletes a journal without a store, which `examine` has let pass as it was told to.

    Raises:
        OSError: it cannot be deleted.
    """
    store = folder / FILE
    if not store.exists() or store.stat().st_size == 0:
        for name in (JOURNAL, INDEX):
            (folder / name).unlink(missing_ok=True)


def drop_unfinished_restore(folder: Path) -> None:
    """Deletes what a restore has left that was killed before its store took its place."""
    store = folder / FILE
    if store.exists() and store.stat().st_size > 0:
        shutil.rmtree(folder / RESTORING, ignore_errors=True)


def damaged(folder: Path, why: str) -> DataDirectoryDamaged:
    """Returns the error of a data directory whose store is damaged."""
    return DataDirectoryDamaged(
        f"data_dir: the store in {folder} is damaged: {why}; {_AGAIN}",
        field="data_dir",
        limit="a sound store",
        value=folder,
    )


def _check_header(path: Path) -> None:
    """Looks at the first bytes of the store and of its journal.

    SQLite takes a journal with a damaged header for an empty one, and what it holds would be lost
    (https://www.sqlite.org/fileformat2.html#the_write_ahead_log).
    """
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise damaged(path.parent, f"{FILE} does not begin as a database")
    journal = path.with_name(JOURNAL)
    if journal.exists() and not journal_is_sound(journal):
        raise damaged(path.parent, f"{JOURNAL} does not begin as a journal")


def journal_is_sound(journal: Path) -> bool:
    """Says whether a journal is empty, or has a header whose checksum is right.

    SQLite syncs the header before it writes what follows, so that a power failure leaves half of
    one, or zeros in its place, only where nothing follows.
    """
    with journal.open("rb") as file:
        header, more = file.read(32), file.read(1)
    if len(header) < 32 or not (any(header) or more):
        return True
    order = {0x377F0682: "little", 0x377F0683: "big"}.get(int.from_bytes(header[:4], "big"))
    if order is None:
        return False
    sums = [0, 0]
    for at in range(0, 24, 8):
        for i in (0, 1):
            word = int.from_bytes(header[at + 4 * i : at + 4 * i + 4], order)  # type: ignore[arg-type]
            sums[i] = (sums[i] + word + sums[1 - i]) & 0xFFFFFFFF
    return sums == [int.from_bytes(header[at : at + 4], "big") for at in (24, 28)]


def _holds_store(path: Path, folder: Path) -> bool:
    """Checks the schema of a store; returns whether it has tables at all."""
    try:
        with _open(path) as connection:
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if not names:
                return False
            _check_schema(connection, names, folder)
    except sqlite3.DatabaseError as error:
        raise damaged(folder, str(error)) from error
    return True


def _check_schema(connection: sqlite3.Connection, names: set[str], folder: Path) -> None:
    if "alembic_version" not in names:
        raise damaged(folder, "its tables are of no known release")
    rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    found = " and ".join(sorted(str(row[0]) for row in rows)) or "none"
    newest = newest_revision()
    if len(rows) != 1:
        raise damaged(folder, f"it has schema {found}, where one is right")
    if found not in known_revisions():
        raise DataDirectoryTooNew(
            f"data_dir: its store has schema {found}, this release knows them up to {newest}; "
            "run the release that wrote it, or go back to a backup",
            field="data_dir",
            limit=newest,
            value=found,
        )
    if found == newest:
        for what in schema.lacking(
            lambda name: {row[1] for row in connection.execute(schema.columns_of(name))}
        ):
            raise damaged(folder, f"{what} is not there")


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a store that no server has, without changing a byte of it or of its journal.

    SQLite reads a journal only with an index in shared memory beside it, which it does not write
    where it is told so (https://www.sqlite.org/uri.html). One that is missing is lent to it.
    """
    journal, index = path.with_name(JOURNAL), path.with_name(INDEX)
    how, lent = "mode=ro&immutable=1", False
    if journal.exists() and journal.stat().st_size > 0:
        how, lent = "mode=ro&readonly_shm=1", not index.exists()
    try:
        if lent:
            index.touch(mode=0o600)
        address = f"file:{quote(str(path.absolute()))}?{how}"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            yield connection
    except OSError as error:
        raise unreadable(path.parent, f"{error.strerror}") from error
    finally:
        if lent:
            index.unlink(missing_ok=True)
