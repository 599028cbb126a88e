"""Makes a store look as if labels had not been normalised when they came in."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from adapters import Head
from service.store.upgrade import MIGRATIONS
from service.store.version_members import pack, unpack

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def rename_labels(data_dir: Path, names: Mapping[str, str]) -> None:
    """Renames labels wherever a store has them, and sets it back before they are normalised."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    before = ScriptDirectory.from_config(config).get_revision("0006").down_revision
    with sqlite3.connect(data_dir / "trunkline.db") as store:
        store.execute("UPDATE alembic_version SET version_num = ?", (before,))
        store.execute("DROP INDEX examples_by_external_id")
        for table, column in (
            ("jobs", "inactive_reason"),
            ("versions", "digest"),
            ("embeddings", "crc32"),
            ("examples", "external_id"),
        ):
            store.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
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
