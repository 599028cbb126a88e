"""The folder that a server keeps its files in: their names, who may use it, and its lock."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from service.errors import DataDirectoryLocked, DataDirectoryUnreadable
from service.store import page_key

FILE = "trunkline.db"
LOCK = "lock"
RESERVE = "reserve"
ACTIVATIONS, TUNING, UNUSED = "activations", "tuning", "prometheus"
CLUSTER = "cluster"
"""Sockets of the processes that share the store."""
RESTORING = ".restoring"

JOURNAL, INDEX = f"{FILE}-wal", f"{FILE}-shm"
_FILES = (FILE, JOURNAL, INDEX, f"{FILE}-journal", LOCK, RESERVE)
_FOLDERS = (ACTIVATIONS, TUNING, UNUSED, CLUSTER)
SIGNS = (RESERVE, page_key.FILE, ACTIVATIONS, TUNING, RESTORING)
"""What is made when the store is there, or is to be: without it, a store was lost."""


def make_folder(folder: Path) -> None:
    """Makes a data directory, with its parents, if it is missing.

    Raises:
        DataDirectoryUnreadable: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        return  # something else has its name, which `examine` says
    except OSError as error:
        raise unreadable(folder, f"it cannot be made: {error.strerror}") from error


def store_signs(folder: Path) -> list[str]:
    """Returns the names of what a store of a server that used this folder has left in it."""
    return [name for name in (FILE, *SIGNS) if is_left(folder / name)]


def is_left(path: Path) -> bool:
    """Says whether there is a folder, or a file with something in it."""
    return path.is_dir() or (path.is_file() and path.stat().st_size > 0)


def unreadable(folder: Path, why: str) -> DataDirectoryUnreadable:
    """Returns the error of a data directory that this process cannot use."""
    return DataDirectoryUnreadable(
        f"data_dir: {folder} cannot be used: {why}", field="data_dir", value=folder
    )


def check_entries(folder: Path) -> None:
    """Makes sure that this process may use a data directory, and what lies in it.

    Raises:
        DataDirectoryUnreadable: it may not.
    """
    try:
        own = folder.stat()
    except OSError as error:
        raise unreadable(folder, f"{error.strerror}") from error
    if not stat.S_ISDIR(own.st_mode):
        raise unreadable(folder, "it is no folder")
    if os.geteuid() not in (0, own.st_uid):
        raise unreadable(
            folder, f"it belongs to user {own.st_uid}, and the server runs as {os.geteuid()}"
        )
    _check_rights(folder, folder, os.R_OK | os.W_OK | os.X_OK)
    for name in _FILES:
        if os.path.lexists(path := folder / name):
            _check_kind(folder, path, "file", ok=path.is_file())
            _check_rights(folder, path, os.R_OK | os.W_OK)
    for name in _FOLDERS:
        if os.path.lexists(path := folder / name):
            _check_kind(folder, path, "folder", ok=path.is_dir())
            _check_rights(folder, path, os.R_OK | os.W_OK | os.X_OK)


def _check_kind(folder: Path, path: Path, kind: str, *, ok: bool) -> None:
    if not ok:
        dangling = path.is_symlink() and not path.exists()
        why = "is a link that leads nowhere" if dangling else f"is no {kind}"
        raise unreadable(folder, f"{path.name} in it {why}")


def _check_rights(folder: Path, path: Path, rights: int) -> None:
    if os.access(path, rights, effective_ids=True):
        return
    what = "it" if path == folder else path.name
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise unreadable(folder, f"{what} lies on a file system that is mounted read-only")
    found = path.stat()
    raise unreadable(
        folder,
        f"{what} may not be read and written by user {os.geteuid()} (it belongs to user "
        f"{found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o})",
    )


def check_lock(folder: Path) -> None:
    """Makes sure that no other server has the store; whoever opens it takes the lock."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise locked(folder) from error
    finally:
        os.close(descriptor)


def locked(folder: Path) -> DataDirectoryLocked:
    """Returns the error of a data directory that another server has."""
    return DataDirectoryLocked.at(
        "data_dir", "{value} is in use by another server", "one server", folder
    )


def lock_directory(data_dir: Path) -> int:
    """Returns a descriptor; until it is closed no other process has the data directory.

    Raises:
        DataDirectoryLocked: another server has it.
        DataDirectoryUnreadable: the file that is locked cannot be made.
    """
    try:
        descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise unreadable(data_dir, f"{LOCK} in it cannot be made: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise locked(data_dir) from error
    return descriptor
