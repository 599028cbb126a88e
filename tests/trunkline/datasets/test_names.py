"""Examples from files are called by where they lie."""

import os
from pathlib import Path

import pytest

from tests.trunkline.datasets.trees import tree
from trunkline.datasets import Columns, Notes, read_examples


def names(path: Path, columns: Columns | None = None) -> tuple[list[str | None], list[str]]:
    """Returns the names of the examples, and those that were changed."""
    notes = Notes()
    found = [row.external_id for row in read_examples(path, columns, notes)]
    changed = [name for notice in notes.notices() for name in notice.names]
    return found, changed


def test_images_are_called_by_their_paths_below_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path, "cats/1.png", "cats/old/1.png", "dogs/ä b.png")
    expected = ["cats/1.png", "cats/old/1.png", "dogs/ä b.png"]
    assert names(root) == (expected, [])
    monkeypatch.chdir(root)
    assert names(Path()) == (expected, [])
    unnamed = read_examples(root, names=False)
    assert {row.external_id for row in unnamed} == {None}


def test_texts_of_a_table_are_called_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text('text,label\ngood,yes\n"two\nlines",no\n,yes\nbad,no\n', encoding="utf-8")
    found, changed = names(path)
    assert found == ["reviews.csv:2", "reviews.csv:3", None, "reviews.csv:6"]
    assert changed == []
    lines = tmp_path / "reviews.jsonl"
    lines.write_text('{"text": "good", "label": "yes"}\n', encoding="utf-8")
    assert names(lines) == (["reviews.jsonl:1"], [])


def test_images_of_a_table_are_called_as_the_table_has_them(tmp_path: Path) -> None:
    tree(tmp_path, "photos/1.png", "2.png")
    table = tmp_path / "lists" / "all.csv"
    table.parent.mkdir()
    away = tmp_path / "2.png"
    table.write_text(f"path,label\n../photos/1.png,a\n{away},b\n", encoding="utf-8")
    assert names(table) == (["../photos/1.png", away.as_posix()], [])


def test_names_that_no_example_can_have_are_changed_and_told(tmp_path: Path) -> None:
    deep = "/".join(["a", *["ö" * 60] * 3, "1.png"])
    tree(tmp_path, deep, "b/red\x1b[31m.png", "b/\uffff\u202e.png")
    folder = os.fsencode(tmp_path / "b")
    Path(os.fsdecode(folder + b"/\xe4.png")).write_bytes(b"x")
    found, changed = names(tmp_path)
    long, *others = found
    assert long is not None
    assert long.startswith("…")
    assert deep.endswith(long[1:])
    assert 254 <= len(long.encode()) <= 256
    assert sorted(map(str, others)) == ["b/red\ufffd[31m.png", "b/\ufffd.png", "b/\ufffd\ufffd.png"]
    assert sorted(changed) == sorted(map(str, found))
