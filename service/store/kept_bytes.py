"""Random bytes that a data directory keeps."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def kept_bytes(path: Path, count: int) -> bytes:
    """Returns the random bytes in a file, and makes it if there is none or a damaged one.

    Its owner alone may read it. A disk that takes no file is no reason not to start: the bytes are
    then good until the server stops.
    """
    try:
        kept = path.read_bytes()
    except OSError:
        kept = b""
    if len(kept) == count:
        return kept
    made = os.urandom(count)
    part = path.with_suffix(".part")
    with suppress(OSError):
        part.unlink(missing_ok=True)  # of a start that was killed
        # Never into what is there by then: a link would send it elsewhere, with other rights.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(made)
        part.replace(path)  # in one step: a half of it is never read
    return made
