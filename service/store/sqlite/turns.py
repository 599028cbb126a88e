"""Locks that give turns to those who wait for them."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path


class Turns:
    """A lock for two threads: who lets go and wants it again comes after the other, if it waits.

    A `threading.Lock` mostly goes back to whoever has just let go of it.
    """

    def __init__(self) -> None:
        self._waiting, self._lock = threading.Lock(), threading.Lock()

    def __enter__(self) -> None:
        with self._waiting:
            self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def close(self) -> None:
        """Lets go of what it holds of the system: nothing."""


class TurnsOfProcesses(Turns):
    """The same for the threads of several processes; one that ends lets go of it.

    SQLite's own lock is asked for again and again, with sleeps in between.

    Args:
        folder: of the two files that are locked.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._files = [
            os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600) for name in ("next", "writing")
        ]

    def __enter__(self) -> None:
        super().__enter__()
        waiting, writing = self._files
        fcntl.flock(waiting, fcntl.LOCK_EX)
        fcntl.flock(writing, fcntl.LOCK_EX)
        fcntl.flock(waiting, fcntl.LOCK_UN)

    def __exit__(self, *error: object) -> None:
        fcntl.flock(self._files[1], fcntl.LOCK_UN)
        super().__exit__(*error)

    def close(self) -> None:
        """Closes the files."""
        for file in self._files:
            os.close(file)
