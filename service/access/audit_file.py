"""The audit log as JSON lines, for whoever collects logs.

The file is opened by its path for each write, so that whatever rotates it need tell nobody.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import threading
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from service.errors import StartupError
from service.logs import Seldom, get_logger
from service.metrics import Metrics
from service.store.audit import AuditRow

MAX_WAITING = 10_000
"""Rows that wait for the file's disk."""
CLOSE_SECONDS = 1.0
"""Time for the last rows to be written, when the server stops."""

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe may hang
_MODE = 0o600

log = get_logger(__name__)


class AuditFile:
    """Writes rows to a file, in a thread of its own: a disk that is full or hangs stops nobody.

    Raises:
        StartupError: the file cannot be written, or has something else in it.
    """

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self._path, self._metrics = path, metrics
        self._seldom = Seldom()
        self._queue: queue.Queue[Sequence[AuditRow] | None] = queue.Queue(MAX_WAITING)
        try:
            if path.is_file() and _begin(path) not in (b"", b"{"):
                raise StartupError(f"audit_file: {path} is there already, and is no audit log")
            self._append(b"")
        except OSError as error:
            raise StartupError(f"audit_file: {path} cannot be written: {error.strerror}") from error
        self._thread = threading.Thread(target=self._write_rows, name="audit-file", daemon=True)
        self._thread.start()

    def add(self, rows: Sequence[AuditRow]) -> None:
        """Has rows written soon. What finds no room is counted, and logged."""
        try:
            self._queue.put_nowait(rows)
        except queue.Full:
            self._lose(len(rows), "it takes rows too slowly")

    def close(self) -> None:
        """Writes what waits, unless that takes too long."""
        try:
            self._queue.put(None, timeout=CLOSE_SECONDS)
        except queue.Full:
            return
        self._thread.join(CLOSE_SECONDS)

    def _write_rows(self) -> None:
        while (rows := self._queue.get()) is not None:
            try:
                self._append(b"".join(map(_line, rows)))
            except OSError as error:
                self._lose(len(rows), error.strerror)

    def _append(self, data: bytes) -> None:
        """Appends all of it, or nothing: half a line would spoil the next one."""
        file = os.open(self._path, _FLAGS, _MODE)
        try:
            os.fchmod(file, _MODE)
            fcntl.flock(file, fcntl.LOCK_EX)  # another process of this server may write, too
            size = os.fstat(file).st_size
            try:
                written = os.write(file, data)
                while written < len(data):
                    written += os.write(file, data[written:])
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)

    def _lose(self, rows: int, reason: str | None) -> None:
        self._metrics.audit_lost.labels("file").inc(rows)
        left_out = self._seldom()
        if left_out is not None:
            log.error(
                "audit rows not written to the file; the store has them",
                file=str(self._path),
                rows=rows,
                reason=reason,
                left_out=left_out,
            )


def _begin(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)


def _line(row: AuditRow) -> bytes:
    values = asdict(row)
    time = datetime.fromtimestamp(values.pop("at"), UTC)
    document = {"time": time.isoformat(timespec="milliseconds"), **values}
    return (json.dumps(document) + "\n").encode()
