"""A version is measured on labelled data that it has not learned from, by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import TEXTS, Cli
from trunkline import Client, NewExample, Prediction

TRAINED = [
    ("works very well", "good"),
    ("love it so much", "good"),
    ("great quality", "good"),
    ("broke at once", "bad"),
    ("hate it so much", "bad"),
    ("poor quality", "bad"),
]
NEW = [("a great thing", "good"), ("a poor thing", "bad"), ("works well", "bad")]


@pytest.fixture
def head(client: Client, tenant: str) -> str:
    name = f"{tenant}/reviews"
    client.create_head(name, TEXTS)
    client.upload(name, TRAINED)
    client.train(name)
    return name


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    lines = ["text,label", *(f"{text},{label}" for text, label in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def evaluated(cli: Cli, *arguments: str | Path) -> dict[str, Any]:
    done = cli("evaluate", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_figures_are_those_of_the_predictions(
    cli: Cli, client: Client, head: str, tmp_path: Path
) -> None:
    rows = [row for row in client.predict(head, [text for text, _ in NEW])]
    labels = [row.label for row in rows if isinstance(row, Prediction)]
    right = sum(label == true for label, (_, true) in zip(labels, NEW, strict=True))
    found = evaluated(cli, head, write(tmp_path / "new.csv", NEW))
    assert (found["rows"], found["left_out"], found["failed"]) == (3, 0, 0)
    assert found["accuracy"] == right / 3
    assert found["accuracy_low"] < found["accuracy"] <= found["accuracy_high"] <= 1
    assert [row["label"] for row in found["classes"]] == ["bad", "good"]
    assert sum(map(sum, found["confusion"])) == 3
    assert [sum(row) for row in found["confusion"]] == [2, 1]
    assert len(list(client.list_examples(head))) == len(TRAINED)


def test_what_was_trained_on_is_left_out_and_said(
    cli: Cli, client: Client, head: str, tmp_path: Path
) -> None:
    client.upload(head, [NewExample(NEW[0][0], "good", held_out=True)])
    table = write(tmp_path / "both.csv", [*TRAINED[:2], *NEW])
    found = evaluated(cli, head, table)
    assert (found["rows"], found["left_out"]) == (3, 2)
    assert [row["reason"] for row in found["notices"]] == ["test_trained_on"]
    assert evaluated(cli, head, table, "--with-trained")["rows"] == 5
    told = cli("evaluate", head, table, "--with-trained")
    assert (
        "2 rows stored to learn from, measured on as well: the accuracy is too high" in told.stderr
    )
    nothing = cli("evaluate", head, write(tmp_path / "known.csv", TRAINED))
    assert nothing.returncode == 1
    assert "nothing to measure on; --with-trained measures on" in nothing.stderr


def test_rows_of_a_class_that_the_version_lacks_are_wrong_and_told(
    cli: Cli, head: str, tmp_path: Path
) -> None:
    found = evaluated(cli, head, write(tmp_path / "new.csv", [*NEW, ("so so", "mixed")]))
    assert [row["reason"] for row in found["notices"]] == ["unknown_test_label"]
    mixed = next(row for row in found["classes"] if row["label"] == "mixed")
    assert (mixed["examples"], mixed["recall"], mixed["precision"]) == (1, 0.0, None)
