import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline import DatasetError, Image, Text
from trunkline.datasets import read_examples, read_inputs

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), min_size=1)
ROWS = st.lists(st.tuples(WORDS, WORDS), max_size=5)


def pairs(path: Path) -> list[tuple[str | bytes, str]]:
    return [(item.text, label) for item, label in read_examples(path) if isinstance(item, Text)]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def folder(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")
    return root


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
@given(rows=ROWS, bom=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_tables_give_back_what_was_written(
    tmp_path: Path, suffix: str, delimiter: str, rows: list[tuple[str, str]], bom: bool
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(["label", "text"])
    writer.writerows((label, text) for text, label in rows)
    path = write(tmp_path / f"t.{suffix}", "\ufeff" * bom + out.getvalue())
    assert pairs(path) == rows


@given(rows=ROWS, bom=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_json_lines_give_back_what_was_written(
    tmp_path: Path, rows: list[tuple[str, str]], bom: bool
) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path = write(tmp_path / "t.jsonl", "\ufeff" * bom + "\n\n".join(lines))
    assert pairs(path) == rows


def test_paths_are_relative_to_the_table(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "path,label\nimages/a.png,x\n")
    assert list(read_examples(path)) == [(Image.open(tmp_path / "images/a.png"), "x")]


def test_a_folder_gives_one_class_per_sub_folder(tmp_path: Path) -> None:
    root = folder(
        tmp_path, "b/2.JPG", "b/deep/1.png", "a/1.webp", "a/notes.txt", ".cache/1.png", "a/.1.png"
    )
    found = [
        (item.path.name, label)
        for item, label in read_examples(root)
        if isinstance(item, Image) and item.path
    ]
    assert found == [("1.webp", "a"), ("2.JPG", "b"), ("1.png", "b")]


def test_what_a_hidden_folder_holds_is_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path, "a/1.png", "a/.thumbnails/1.png", "a/deep/.trash/b/2.png")
    assert list(read_examples(root)) == [(Image.open(root / "a/1.png"), "a")]
    assert list(read_inputs(root)) == [Image.open(root / "a/1.png")]


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("t.csv", "", "t.csv:1: .*empty"),
        ("t.csv", "a,label\nx,y\n", "t.csv:2: .*`text` or a `path`"),
        ("t.csv", "text,path,label\nx,y,z\n", "t.csv:2: .*either"),
        ("t.csv", "text\nx\n", "t.csv:2: .*`label`"),
        ("t.csv", "text,label\nx,y\nx\n", "t.csv:3: .*2 columns, found 1"),
        ("t.csv", 'text,label\n"a\nb",y\nx,\n', "t.csv:4: .*`label`"),
        ("t.csv", 'text,label\nx,y\n"open', "t.csv:3: "),
        ("t.csv", "text,text\n", "t.csv:1: .*twice"),
        ("t.csv", "path,label\n,y\n", "t.csv:2: .*`path`"),
        ("t.jsonl", '{"text": "a", "label": "b"}\n{"text"', "t.jsonl:2: not JSON"),
        ("t.jsonl", "[]", "t.jsonl:1: .*object"),
        ("t.jsonl", '{"text": 3, "label": "b"}', "t.jsonl:1: .*`text`"),
        ("t.jsonl", '{"text": "a", "label": null}', "t.jsonl:1: .*`label`"),
        ("t.parquet", "", "not a table"),
    ],
)
def test_a_mistake_is_reported_with_file_and_line(
    tmp_path: Path, name: str, text: str, where: str
) -> None:
    with pytest.raises(DatasetError, match=where):
        list(read_examples(write(tmp_path / name, text)))


def test_text_that_is_not_utf8_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"text,label\na,b\n\xff,c\n")
    with pytest.raises(DatasetError, match=r"t\.csv:3: not UTF-8"):
        list(read_examples(path))


def test_a_table_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        list(read_examples(tmp_path / "none.csv"))


def test_a_folder_without_classes_or_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="sub-folders"):
        list(read_examples(tmp_path))
    folder(tmp_path, "a/notes.txt")
    with pytest.raises(DatasetError, match="no images"):
        list(read_examples(tmp_path))
    with pytest.raises(DatasetError, match="no images"):
        list(read_inputs(tmp_path))


def test_inputs_need_no_labels(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "text\nx\ny\n")
    assert list(read_inputs(table)) == [Text("x"), Text("y")]
    assert list(read_inputs(tmp_path / "a.png")) == [Image.open(tmp_path / "a.png")]
    root = folder(tmp_path / "images", "b.png", "c/a.png")
    assert len(list(read_inputs(root))) == 2
