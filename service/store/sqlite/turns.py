"""A lock that gives turns to those who wait for it."""

from __future__ import annotations

import threading


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
