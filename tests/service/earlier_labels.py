"""Makes a store look as if labels had not been normalised when they came in."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from adapters import Head
from service.store.version_members import pack, unpack
from tests.service.store.earlier_stores import store_of

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def rename_labels(data_dir: Path, names: Mapping[str, str]) -> None:
    """Renames labels wherever a store has them, and sets it back before they are normalised."""
    _set_back(data_dir, "0005")
    with sqlite3.connect(data_dir / "trunkline.db") as store:
        for old, new in names.items():
            for table, column in (
                ("examples", "label"),
                ("examples", "own_label"),
                ("feedback", "label"),
            ):
                store.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (new, old))
            for table, column in (
                ("versions", "labels"),
                ("versions", "report"),
                ("heads", "spec"),
                ("jobs", "spec"),
            ):
                store.execute(
                    f"UPDATE {table} SET {column} = replace({column}, ?, ?)",
                    (json.dumps(old), json.dumps(new)),
                )
        for uid, version, data in store.execute(
            "SELECT head_uid, version, safetensors FROM versions"
        ).fetchall():
            head = Head.from_safetensors(data)
            labels = tuple(names.get(label, label) for label in head.labels)
            weights = {names.get(label, label): w for label, w in head.class_weights.items()}
            renamed = replace(head, labels=labels, class_weights=weights).to_safetensors()
            store.execute(
                "UPDATE versions SET safetensors = ? WHERE head_uid = ? AND version = ?",
                (renamed, uid, version),
            )
        for uid, version, digests, packed in store.execute(
            "SELECT head_uid, version, digests, labels FROM members"
        ).fetchall():
            known = {d: names.get(label, label) for d, label in unpack(digests, packed).items()}
            store.execute(
                "UPDATE members SET labels = ? WHERE head_uid = ? AND version = ?",
                (pack(known)[1], uid, version),
            )
    store.close()


def _set_back(data_dir: Path, revision: str) -> None:
    """Moves what a store holds into the tables of an earlier revision, as far as it had them."""
    path, now = data_dir / "trunkline.db", data_dir / "now.db"
    path.rename(now)
    with store_of(revision, data_dir):
        pass
    store = sqlite3.connect(path, isolation_level=None)
    store.execute("ATTACH ? AS now", (str(now),))
    store.execute("UPDATE now.jobs SET activate = 1 WHERE activate IS NULL")  # it could not be
    tables = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    for (table,) in store.execute(tables).fetchall():
        if table == "alembic_version":
            continue
        columns = ", ".join(f'"{row[1]}"' for row in store.execute(f"PRAGMA table_info({table})"))
        store.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM now.{table}")
    store.close()
    now.unlink()
