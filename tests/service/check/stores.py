"""Stores that are changed behind the server's back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

WORDS = "red one"

Found = Callable[..., list[dict[str, Any]]]


def change(data_dir: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(data_dir / "trunkline.db", isolation_level=None)) as database:
        changed = database.execute(statement, values).rowcount
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert changed > 0


def contents(data_dir: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(data_dir.rglob("*"))
        if path.is_file()
    }


def only(findings: list[dict[str, Any]], check: str) -> dict[str, Any]:
    (finding,) = findings
    assert finding["check"] == check
    return finding
