"""Room on the disk that is kept for the time when there is none.

SQLite needs room to delete: what changes, the zeros that overwrite it included, goes through the
journal first. So a file takes up some room; on a full disk it gives it to the journal for one
transaction, and has it back when the journal is empty again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from service.logs import get_logger

MIB = 1024 * 1024
STEP = MIB
MARGIN = MIB
"""A disk with less room beside the reserve is full: it is the least that an upload may need."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

log = get_logger(__name__)


class Reserve:
    """A file that takes up room; its methods may be called from any thread.

    They wait for the disk. Its properties do not: they say what was seen last.

    Args:
        path: path of the file; its folder exists.
        nbytes: how large it shall be. It takes no more than half of what is free.
    """

    def __init__(self, path: Path, nbytes: int) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._lock = threading.RLock()
        self._depth = 0
        self._full = self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-reserve")
        self._looking: Future[None] | None = None
        free = os.statvfs(path)
        here = self._measure()
        self._size = min(nbytes, here + free.f_bavail * free.f_frsize // 2)
        self._size = max(self._size - self._size % STEP, min(here, nbytes))

    @property
    def nbytes(self) -> int:
        """How large it was when it was last looked at."""
        return self._nbytes

    @property
    def full(self) -> bool:
        """Whether the disk was full when it was last looked at; if so, a thread looks anew.

        So whoever asks again is told that there is room, and nobody waits for a disk that stalls.
        """
        if self._full and (self._looking is None or self._looking.done()):
            with suppress(RuntimeError):  # it is closed
                self._looking = self._thread.submit(self._look)
        return self._full

    def check(self) -> OSError | None:
        """Takes up room again, and returns why there is none beside it; None if there is."""
        with self._alone():
            reason = self._fill() or self._probe()
            self._measure()
            if reason is None and self._full:
                self._full = False
                log.info("there is room on the disk again", folder=str(self._path.parent))
            elif reason is not None and not self._full:
                self._full = True
                log.error(
                    "the disk is full: nothing that makes the store grow is taken; deletions are",
                    folder=str(self._path.parent),
                    reason=reason.strerror,
                    reserve_bytes=self.nbytes,
                )
            return reason

    @contextmanager
    def released(self) -> Iterator[None]:
        """Gives the room to whatever is done in the block, and takes it up again."""
        with self._alone():
            os.ftruncate(self._file, 0)
            self._measure()
            try:
                yield
            finally:
                self.check()

    def close(self) -> None:
        """Closes the file; it stays, for the next start."""
        with self._lock:
            self._closed = True
        self._thread.shutdown()
        os.close(self._file)

    def _look(self) -> None:
        with self._lock:
            if self._closed:
                return
            try:
                self.check()
            except OSError:
                log.exception("the room on the disk could not be looked at")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other threads out, and other processes on the same store."""
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    fcntl.flock(self._file, fcntl.LOCK_UN)

    def _measure(self) -> int:
        self._nbytes = os.fstat(self._file).st_size
        return self._nbytes

    def _fill(self) -> OSError | None:
        for start in range(self._measure(), self._size, STEP):
            try:
                os.posix_fallocate(self._file, start, min(STEP, self._size - start))
            except OSError as error:
                return error
        if self._measure() > self._size:  # the setting is lower than it was
            os.ftruncate(self._file, self._size)
        return None

    def _probe(self) -> OSError | None:
        """Tries to take more, since a quota shows nowhere else."""
        try:
            os.posix_fallocate(self._file, self._size, MARGIN)
        except OSError as error:
            return error
        finally:
            os.ftruncate(self._file, self._size)
        return None
