"""What is wrong with heads, versions, tails, embeddings and values is found, each by its check."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters import Head
from service.store.digests import weights_digest
from tests.service.check.stores import (
    WORDS,
    Found,
    change,
    only,
)
from tests.service.tail_heads import TAIL
from tests.service.tiny_backbone import DIM
from trunkline.digest import text_digest


def test_active_version_that_is_not_there_is_found(data_dir: Path, found: Found) -> None:
    change(data_dir, "UPDATE heads SET active_version = 7")
    finding = only(found(data_dir), "active_versions")
    assert (finding["head"], finding["version"]) == ("acme/defects", 7)


@pytest.mark.parametrize("damage", ["garbage", "labels", "fingerprint", "width", "report"])
def test_weights_that_cannot_be_read_or_do_not_fit_are_found(
    damage: str, data_dir: Path, found: Found
) -> None:
    if damage == "garbage":
        set_weights(data_dir, b"no weights")
    elif damage == "labels":
        change(data_dir, "UPDATE versions SET labels = ?", '["red", "green"]')
    elif damage == "report":
        change(data_dir, "UPDATE versions SET report = ?", '{"spec": {"family"')
    elif damage == "fingerprint":
        set_weights(data_dir, weights(DIM, "0" * 64))
    else:
        with closing(sqlite3.connect(data_dir / "trunkline.db")) as database:
            (fingerprint,) = database.execute("SELECT tail FROM versions").fetchone()
        set_weights(data_dir, weights(DIM + 1, fingerprint))
    finding = only(found(data_dir), "weights")
    assert (finding["head"], finding["version"]) == ("acme/defects", 1)


def weights(dim: int, fingerprint: str, labels: Sequence[str] = ("blue", "red")) -> bytes:
    values = np.zeros((2, dim), np.float32)
    head = Head("imported", tuple(labels), values, np.zeros(2, np.float32), fingerprint)
    return head.to_safetensors()


def set_weights(data_dir: Path, data: bytes) -> None:
    """As if they had been stored like that, with their digest."""
    digest = weights_digest(data)
    change(data_dir, "UPDATE versions SET safetensors = ?, digest = ?", data, digest)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["cafe\u0301", "tea"], "not in Unicode's form C"),
        (["caf\u00e9", "cafe\u0301"], "2 labels look like 1"),
        (["caf\u00e9", "tea"], None),
    ],
)
def test_labels_of_versions_that_are_not_composed_are_found(
    labels: list[str], words: str | None, data_dir: Path, found: Found
) -> None:
    with closing(sqlite3.connect(data_dir / "trunkline.db")) as database:
        (fingerprint,) = database.execute("SELECT tail FROM versions").fetchone()
    set_weights(data_dir, weights(DIM, fingerprint, labels))
    change(data_dir, "UPDATE versions SET labels = ?", json.dumps(labels))
    if words is None:
        assert found(data_dir, status=0) == []
    else:
        finding = only(found(data_dir), "labels")
        assert words in finding["words"]
        assert "'cafe\\u0301'" in finding["words"]
        assert finding["version"] == 1


def flip(data_dir: Path, table: str, column: str, where: str = "true") -> None:
    """Changes one bit in the midst of a stored value."""
    with closing(sqlite3.connect(data_dir / "trunkline.db")) as database:
        query = f"SELECT rowid, {column} FROM {table} WHERE {where} ORDER BY rowid LIMIT 1"
        row, data = database.execute(query).fetchone()
    at = len(data) - max(1, len(data) // 8)
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    change(data_dir, f"UPDATE {table} SET {column} = ? WHERE rowid = ?", changed, row)


@pytest.mark.parametrize(
    ("table", "column", "check"),
    [
        ("versions", "safetensors", "weights"),
        ("tails", "safetensors", "tails"),
        ("embeddings", "vector", "embeddings"),
        ("examples", "input", "kept_inputs"),
    ],
)
def test_one_bit_that_the_disk_changed_is_found(
    table: str, column: str, check: str, data_dir: Path, found: Found
) -> None:
    flip(data_dir, table, column)
    findings = found(data_dir)
    assert {finding["check"] for finding in findings} == {check}
    assert {finding["head"] for finding in findings} == {"acme/defects"}


@pytest.mark.parametrize("column", ["digests", "labels"])
def test_list_of_examples_that_cannot_be_read_is_found(
    column: str, data_dir: Path, found: Found
) -> None:
    change(data_dir, f"UPDATE members SET {column} = ?", b"cut off")
    assert only(found(data_dir), "members")["version"] == 1


@pytest.mark.parametrize("data", [b"no tail", TAIL[:-1] + bytes([TAIL[-1] ^ 1])])
def test_tail_that_cannot_be_read_is_found(data: bytes, data_dir: Path, found: Found) -> None:
    change(data_dir, "UPDATE tails SET safetensors = ?", data)
    assert only(found(data_dir), "tails")["head"] == "acme/defects"


def test_tail_that_is_not_there_is_found(data_dir: Path, found: Found) -> None:
    change(data_dir, "DELETE FROM tails")
    assert only(found(data_dir), "missing_tails")["version"] == 1


@pytest.mark.parametrize("vector", [b"\0" * 3, b"\0" * 4 * (DIM + 1), b"\xff" * 4 * DIM])
def test_embedding_of_another_length_or_without_numbers_is_found(
    vector: bytes, data_dir: Path, found: Found
) -> None:
    digest = text_digest(WORDS)
    change(data_dir, "UPDATE embeddings SET vector = ? WHERE digest = ?", vector, digest)
    findings = found(data_dir)
    assert {(f["check"], f["head"], f["digest"]) for f in findings} == {
        ("embeddings", "acme/defects", digest)
    }


def test_example_without_an_embedding_is_found(data_dir: Path, found: Found) -> None:
    digest = text_digest(WORDS)
    change(data_dir, "DELETE FROM embeddings WHERE digest = ?", digest)
    finding = only(found(data_dir), "missing_embeddings")
    assert (finding["head"], finding["digest"]) == ("acme/defects", digest)
    assert f"takes: 1 ({digest})" in finding["words"]


def test_embeddings_that_all_have_a_broken_length_are_found(data_dir: Path, found: Found) -> None:
    change(data_dir, "UPDATE embeddings SET vector = ?", b"\0" * 7)
    assert {finding["check"] for finding in found(data_dir)} == {"weights", "embeddings"}


@pytest.mark.parametrize("value", [5, "text"])
@pytest.mark.parametrize(
    "column",
    ["embeddings.vector", "versions.safetensors", "examples.input", "members.labels"],
)
def test_values_of_another_kind_are_found_and_end_no_check(
    column: str, value: Any, data_dir: Path, found: Found
) -> None:
    table, name = column.split(".")
    change(data_dir, f"UPDATE {table} SET {name} = ?", value)
    findings = [finding for finding in found(data_dir) if finding["check"] == "values"]
    (words,) = {finding["words"] for finding in findings}
    assert f"column {name} of table {table} is not blob" in words


@pytest.mark.parametrize("spec", ["{", "5", '{"family": "none"}', '{"front": 1}'])
def test_spec_that_cannot_be_read_is_found(spec: str, data_dir: Path, found: Found) -> None:
    change(data_dir, "UPDATE heads SET spec = ?", spec)
    findings = [finding for finding in found(data_dir) if finding["check"] == "specs"]
    assert [finding["head"] for finding in findings] == ["acme/defects"]
    change(data_dir, "UPDATE heads SET spec = '{}'")
    change(data_dir, "UPDATE jobs SET state = 'queued', spec = ?", spec)
    words = only(found(data_dir), "specs")["words"]
    assert "a waiting training's" in words


@pytest.mark.parametrize("column", ["labels", "report"])
@pytest.mark.parametrize("value", ["{}", "[]", "5", "{"])
def test_labels_and_reports_that_no_reply_can_show_are_found(
    value: str, column: str, data_dir: Path, found: Found
) -> None:
    change(data_dir, f"UPDATE versions SET {column} = ?", value)
    findings = [finding for finding in found(data_dir) if finding["check"] == "weights"]
    assert {finding["version"] for finding in findings} == {1}


def test_count_that_is_not_what_a_tenant_stores_is_found(data_dir: Path, found: Found) -> None:
    change(data_dir, "UPDATE tenants SET examples = examples + 1, stored_bytes = 7")
    finding = only(found(data_dir), "counts")
    assert finding["head"] == "acme/"
    change(data_dir, finding["remedy"].split("'")[1])
    change(data_dir, "UPDATE heads SET active_version = 7")
    only(found(data_dir), "active_versions")
