"""The key that page tokens of one data directory are sealed with."""

from __future__ import annotations

from pathlib import Path

from service.store.kept_bytes import kept_bytes

FILE = "page-tokens.key"

KEY_BYTES = 32


def page_key(data_dir: Path) -> bytes:
    """Returns the directory's key.

    Tokens outlive a restart by it; a new one costs nothing but the tokens of lists under way.
    """
    return kept_bytes(data_dir / FILE, KEY_BYTES)
