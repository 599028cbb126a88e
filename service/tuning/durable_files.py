"""Writes files atomically and durably."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from service.errors import StoreFailed, StoreFull

PART = ".part"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write(path: Path, *data: bytes | memoryview) -> None:
    """Writes a file atomically: it is on the disk as a whole when this returns.

    Raises:
        StoreFull: there is no room on the disk.
        StoreFailed: nothing may be written there.
    """
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        kind = StoreFull if error.errno in NO_ROOM else StoreFailed
        raise kind(
            f"data_dir: {path.name} cannot be written: {error.strerror}",
            field="data_dir",
            value=error.strerror,
        ) from error
