import os
from pathlib import Path

import pytest

from tests.trunkline.datasets.trees import tree
from trunkline import DatasetError, Image, NewExample, Text
from trunkline.datasets import Columns, Notes, count_inputs, read_examples, read_inputs
from trunkline.rows.chunking import MAX_INPUT_BYTES
from trunkline.values.unreadable import Unreadable


def only(path: Path) -> object:
    (item,) = read_inputs(path)
    return item


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_a_text_without_its_last_line_end(
    tmp_path: Path, end: str, encoding: str
) -> None:
    path = tmp_path / "a.TXT"
    path.write_bytes(f"Dear café,\n\nbye\n{end}".encode(encoding))
    item = only(path)
    assert item == Text(f"Dear café,\n\nbye\n{end}"[: -len(end or chr(10))])
    assert isinstance(item, Text)
    assert item.path == path


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"caf\xe9", "`a.txt` is not UTF-8: byte 0xe9; save the file as UTF-8"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
def test_a_file_that_holds_no_text_costs_its_own_row(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    item = only(path)
    assert isinstance(item, Unreadable)
    assert item.where == str(path)
    assert problem in item.problem


def test_a_file_too_large_for_an_input_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"so\n")
    os.truncate(path, MAX_INPUT_BYTES + 1)
    item = only(path)
    assert isinstance(item, Unreadable)
    assert item.problem == f"a text may have {MAX_INPUT_BYTES} bytes, this file has 33554433"


def test_the_first_line_says_whether_a_file_is_a_table(tmp_path: Path) -> None:
    path, notes = tmp_path / "a.txt", Notes()
    path.write_text("id;Text\n1;good\n2;bad\n")
    assert list(read_inputs(path, notes=notes)) == [Text("good"), Text("bad")]
    assert (count_inputs(path, Columns()), notes.notices()) == (None, ())
    path.write_text("id;body\n1;good\n")
    assert list(read_inputs(path, notes=notes)) == [Text("id;body\n1;good")]
    assert count_inputs(path, Columns()) == 1
    (notice,) = notes.notices()
    assert (notice.reason, notice.names) == ("one_text", (str(path),))
    assert list(read_inputs(path, Columns(text="body"))) == [Text("good")]
    with pytest.raises(DatasetError, match="expected a column `words`"):
        list(read_inputs(path, Columns(text="words")))
    with pytest.raises(DatasetError, match="expected either a `text` or a `path` column"):
        list(read_examples(path))


def test_a_folder_gives_its_images_or_its_texts_in_order(tmp_path: Path) -> None:
    root = tree(tmp_path, "b/1.txt", "a.txt", "b.png", "c/1.png", "c/text.csv")
    notes = Notes()
    found = read_inputs(root, notes=notes, texts=True)
    texts = [item.path for item in found if isinstance(item, Text)]
    assert texts == [root / "a.txt", root / "b/1.txt"]
    assert {notice.words.split(" left")[0] for notice in notes.notices()} == {
        "2 .png files",
        "1 .csv file",
    }
    images = list(read_inputs(root))
    assert images == [Image.open(root / "b.png"), Image.open(root / "c/1.png")]
    assert count_inputs(root, Columns(), texts=True) == count_inputs(root, Columns()) == 2
    with pytest.raises(DatasetError, match=r"no texts in this folder \(.txt\)"):
        list(read_inputs(root / "c", texts=True))


def test_a_table_may_name_files_with_texts(tmp_path: Path) -> None:
    tree(tmp_path, "pos/1.txt", "neg/1.txt")
    table = tmp_path / "t.csv"
    table.write_text("path,label\npos/1.txt,pos\nneg/1.txt,neg\nneg/2.txt,neg\n")
    first, second, third = read_examples(table)
    assert [first, second] == [
        NewExample(Text("pos/1.txt"), "pos"),
        NewExample(Text("neg/1.txt"), "neg"),
    ]
    assert isinstance(third.input, Unreadable)
    with pytest.raises(DatasetError, match="a `path` column that names these files"):
        list(read_examples(tree(tmp_path / "folder", "pos/1.txt", "neg/1.txt")))
