"""The key that page tokens of one data directory are sealed with."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FILE = "page-tokens.key"

KEY_BYTES = 32


def page_key(data_dir: Path) -> bytes:
    """Returns the directory's key, and makes it if there is none or a damaged one.

    Tokens outlive a restart by it; a new one costs nothing but the tokens of lists under way. So a
    disk that takes no file is no reason not to start: the key is then good until the server stops.
    """
    path = data_dir / FILE
    try:
        key = path.read_bytes()
    except OSError:
        key = b""
    if len(key) == KEY_BYTES:
        return key
    key = os.urandom(KEY_BYTES)
    part = path.with_suffix(".part")
    with suppress(OSError):
        part.unlink(missing_ok=True)  # of a start that was killed
        # Never into what is there by then: a link would send the key elsewhere, with other rights.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
        part.replace(path)  # in one step: a half of a key is never read
    return key
