import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline import DatasetError, Image, Text
from trunkline.datasets import Columns, Notes, read_examples, read_inputs
from trunkline.values.notices import Notice
from trunkline.values.unreadable import Unreadable

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
# As they are stored: neither normalised nor trimmed any more.
LABELS = st.text("abc äßñ", min_size=1).map(str.strip).filter(bool)
ROWS = st.lists(st.tuples(TEXTS, LABELS), max_size=5)
LONG = "z" * 200_000


def pairs(path: Path, columns: Columns | None = None) -> list[tuple[str | bytes, str | None]]:
    return [
        (row.input.text, row.label)
        for row in read_examples(path, columns)
        if isinstance(row.input, Text)
    ]


def problems(path: Path) -> list[str]:
    """Returns the rows that could not be read, as line and problem."""
    unreadable = [row.input for row in read_examples(path) if isinstance(row.input, Unreadable)]
    return [f"{row.where.removeprefix(f'{path}:')}: {row.problem}" for row in unreadable]


def notices(path: Path) -> dict[str, Notice]:
    notes = Notes()
    assert list(read_examples(path, notes=notes))
    return {notice.reason: notice for notice in notes.notices()}


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "tab"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@given(rows=ROWS, encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
def test_tables_give_back_what_was_written(
    tmp_path: Path, suffix: str, delimiter: str, rows: list[tuple[str, str]], encoding: str
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(["label", "text"])
    writer.writerows((label, text) for text, label in rows)
    path = write(tmp_path / f"t.{suffix}", out.getvalue().encode(encoding))
    assert pairs(path) == rows


@given(rows=ROWS, encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_json_lines_give_back_what_was_written(
    tmp_path: Path, rows: list[tuple[str, str]], encoding: str
) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path = write(tmp_path / "t.jsonl", "\n\n".join(lines).encode(encoding))
    assert pairs(path) == rows


def test_paths_are_relative_to_the_table(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "path,label\nimages/a.png,x\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").touch()
    (row,) = read_examples(path)
    assert (row.input, row.label) == (Image.open(tmp_path / "images/a.png"), "x")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("none.png", "No such file or directory"),
        ("images\\a.png", "No such file or directory; parts of a path are to stand between"),
        ('"a.png "', "No such file or directory; there is white space around it"),
        ("images", "is not a file"),
        ("x" * 300 + ".png", "File name too long"),
        ("a.png/b.png", "Not a directory"),
    ],
)
def test_a_row_whose_file_is_not_there_is_named_by_its_line(
    tmp_path: Path, cell: str, said: str
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "a.png").touch()
    path = write(tmp_path / "t.csv", f"path,label\na.png,x\n{cell},y\n")
    (problem,) = problems(path)
    assert problem.startswith("3: `path`")
    assert said in problem


@pytest.mark.parametrize(
    "text",
    [
        "text,label,,\na,b,,\nc,d\n",
        ",text,label\n0,a,b\n1,c,d\n",
        "Text ; LABEL\na;b\nc;d\n",
        "sep=;\ntext;label\na;b\nc;d\n",
        '"sep=;"\ntext;label\na;b\nc;d\n',
        "\ufeff\ufefftext,label\na,b\nc,d\n",
        "text,label\ra,b\rc,d\r",
        "text,label\r\na,b\r\n\r\nc,d",
        "id|label|text\n1|b|a\n2|d|c",
        f"text,note,label\na,{LONG},b\nc,d,d\n",
        "\n\ntext,label\na,b\nc,d\n",
        "note,note,text,label\n1,2,a,b\n1,2,c,d\n",
    ],
)
def test_tables_are_read_as_spreadsheets_write_them(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "t.csv", text)
    assert pairs(path) == [("a", "b"), ("c", "d")]
    assert problems(path) == []


def test_a_long_cell_is_no_mistake_and_leaves_the_limit_of_the_process_alone(
    tmp_path: Path,
) -> None:
    limit = csv.field_size_limit()
    assert pairs(write(tmp_path / "t.csv", f"text,label\n{LONG},b\n")) == [(LONG, "b")]
    assert csv.field_size_limit() == limit


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "Review,stars,author,text\nfine,5,ann,x\npoor,1,,x\n")
    columns = Columns(text="review", label="Stars", group="author")
    rows = [(row.input, row.label, row.group) for row in read_examples(path, columns)]
    assert rows == [(Text("fine"), "5", "ann"), (Text("poor"), "1", None)]
    (tmp_path / "a.png").touch()
    images = write(tmp_path / "i.jsonl", '{"File": "a.png", "label": 1}\n')
    (row,) = read_examples(images, Columns(path="file"))
    assert row.input == Image.open(tmp_path / "a.png")
    assert list(read_inputs(path, Columns(text="Review"))) == [Text("fine"), Text("poor")]
    with pytest.raises(DatasetError, match="`who`"):
        list(read_examples(path, Columns(text="review", label="stars", group="who")))
    with pytest.raises(DatasetError, match="either"):
        Columns(text="a", path="b")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("t.csv", "", "t.csv:1: .*empty"),
        ("t.csv", "a,label\nx,y\n", "t.csv:1: .*`text` or a `path`.*a, label"),
        ("t.csv", "good,yes\nbad,no\n", "t.csv:1: .*this line is to hold the column names"),
        ("t.csv", "text,path,label\nx,y,z\n", "t.csv:1: .*either"),
        ("t.csv", "text\nx\n", "t.csv:1: .*`label`.*--label-column"),
        ("t.csv", "text:label\nx:y\n", "t.csv:1: "),
        ("t.csv", "text,text,label\n", "t.csv:1: .*twice"),
        ("t.csv", '\n"text,label\nx,y\n', "t.csv:2: .*quote"),
        ("t.csv", "text,label\nx,y\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("t.csv", b"PK\x03\x04...", "spreadsheet"),
        ("t.csv", b"\x1f\x8b...", "unpack"),
        ("t.xlsx", b"PK", "spreadsheet; save it as CSV"),
        ("t.parquet", "", "not a table.*Parquet"),
        ("t.json", '\n[{"text": "a", "label": "b"}]', "t.json:2: .*a JSON array: jq"),
        ("t.csv.gz", "", "unpack"),
        ("t.unknown", "", "not a folder, and not a table"),
        ("t.jsonl", "[]", "t.jsonl:1: .*one JSON object a line, found a JSON array"),
        ("t.jsonl", "[\n{}\n]", "t.jsonl:1: .*a JSON array"),
        ("t.jsonl", '{\n"text": "a"\n}', "t.jsonl:1: .*a JSON object over several lines"),
    ],
)
def test_a_file_that_is_no_such_table_is_an_error_that_says_what_to_do(
    tmp_path: Path, name: str, data: str | bytes, said: str
) -> None:
    with pytest.raises(DatasetError, match=said):
        list(read_examples(write(tmp_path / name, data)))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("t.csv", "text,label\na,b\nx\nc,d\n", "3: expected 2 columns, found 1"),
        ("t.csv", "text,label\na,b\nx,y,z\nc,d\n", "3: expected 2 columns, found 3"),
        ("t.csv", "text,label,,\na,b,,\nx,y,z,\nc,d,,\n", "3: expected 2 columns, found more"),
        ("t.csv", 'text,label\n"a",b\n"e\ne",\nc,d\n', "3: the label is empty"),
        ("t.csv", 'text,label\na,b\n"open,y\nc,d\n', "3: a quote that begins here"),
        ("t.csv", 'text,label\na,b\n"open,y\n"c",d\n', "3: quotes that do not fit"),
        ("t.csv", 'text,label\na,b\n"a "b" c",y\nc,d\n', "3: quotes that do not fit"),
        ("t.csv", "text,label\na,b\n,y\nc,d\n", "3: `text` is empty"),
        ("t.csv", b"text,label\na,b\ncaf\xe9,y\nc,d\n", "3: `text` is not UTF-8: byte 0xe9"),
        ("t.csv", b"text,label\na,b\nx,\xff\nc,d\n", "3: `label` is not UTF-8"),
        ("t.csv", "text,label\na,b\nx,a\0b\nc,d\n", "3: the label has control characters"),
        ("t.csv", f"text,label\na,b\nx,{LONG}\nc,d\n", "3: the label has 200000 characters"),
        ("t.jsonl", '{"text"', "3: not JSON"),
        ("t.jsonl", "[" * 100_000, "3: not JSON"),
        ("t.jsonl", "[1]", "3: expected a JSON object, found list"),
        ("t.jsonl", '{"text": 3, "label": "b"}', "3: `text` must be a string, found 3"),
        ("t.jsonl", '{"text": "a", "label": null}', "3: `label` must be a word or a number"),
        ("t.jsonl", '{"text": "a", "label": NaN}', "3: `label` must be a word or a number"),
        ("t.jsonl", '{"text": "a", "label": ["b"]}', "3: `label` must be a word or a number"),
        ("t.jsonl", '{"text": "a"}', "3: expected a `label` column"),
        ("t.jsonl", '{"text": "a", "label": "b", "Label": "c"}', "3: a column name occurs twice"),
        ("t.jsonl", '{"text": "\\ud83d", "label": "b"}', "3: `text` is not valid Unicode"),
        ("t.jsonl", '{"path": "a\\u0000b", "label": "b"}', "3: `path` is no path"),
        ("t.jsonl", '{"path": "https://a.b/c.png", "label": "b"}', "3: `path` is an address"),
    ],
)
def test_a_mistake_in_a_row_costs_that_row_alone(
    tmp_path: Path, name: str, data: str | bytes, said: str
) -> None:
    if name == "t.jsonl":
        good = '{"text": "%s", "label": "%s"}\n'
        data = "\n".join([good % ("a", "b"), str(data), good % ("c", "d")])
    path = write(tmp_path / name, data)
    assert pairs(path) == [("a", "b"), ("c", "d")]
    (found,) = problems(path)
    assert found.startswith(said)


def test_line_numbers_hold_after_cells_of_several_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 'text,label\r\n"a\r\n\r\nb",x\r\nc\r\n"d\re",\r\n')
    assert problems(path) == ["5: expected 2 columns, found 1", "6: the label is empty"]
    assert pairs(path) == [("a\r\n\r\nb", "x")]


def test_bytes_that_are_no_text_do_no_harm_in_a_column_that_is_not_used(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b"text,note,label\na,caf\xe9,b\n")
    assert pairs(path) == [("a", "b")]


def test_rows_of_empty_cells_are_left_out_and_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "text,label\na,b\n,\n  ,\n")
    assert notices(path)["left_out_empty_row"].names == (f"{path}:3", f"{path}:4")
    assert pairs(path) == [("a", "b")]


def test_labels_are_taken_as_they_are_written(tmp_path: Path) -> None:
    values = ["true", "false", "1", "1.0", "1e3", "-0", "12345678901234567890123"]
    lines = [json.dumps({"text": "a"})[:-1] + f', "label": {value}}}' for value in values]
    assert [label for _, label in pairs(write(tmp_path / "t.jsonl", "\n".join(lines)))] == values


def test_column_names_of_a_table_that_was_joined_are_no_row(tmp_path: Path) -> None:
    rows = "id;Text;Label\n1;a;x\n2;b;y\n"
    path = write(
        tmp_path / "t.csv", rows + rows.lower().replace(";a;", ";c;").replace(";b;", ";d;")
    )
    assert pairs(path) == [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")]
    assert notices(path)["left_out_header"].names == (f"{path}:4",)
    alone = write(tmp_path / "alone.csv", "text\na\ntext\n")
    assert list(read_inputs(alone)) == [Text("a"), Text("text")]


def test_labels_that_are_changed_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "text,label\na, yes\nb,cafe\u0301\nc,yes \n")
    assert pairs(path) == [("a", "yes"), ("b", "caf\u00e9"), ("c", "yes")]
    found = notices(path)
    assert (found["label_trimmed"].count, found["label_trimmed"].names) == (1, ("yes",))
    assert found["label_normalised"].names == ("caf\u00e9",)


def test_a_table_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    for name in ("none.csv", "none", "none.xlsx"):
        with pytest.raises(DatasetError, match="No such file"):
            list(read_examples(tmp_path / name))


def test_inputs_need_no_labels(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "text\nx\n\ny\n")
    assert list(read_inputs(table)) == [Text("x"), Text("y")]
    assert list(read_inputs(tmp_path / "a.png")) == [Image.open(tmp_path / "a.png")]
    with pytest.raises(DatasetError, match="spreadsheet"):
        list(read_inputs(write(tmp_path / "t.xlsx", "")))


def test_an_input_that_cannot_be_read_keeps_its_place(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", b"text\nx\n\xff\ny\n")
    first, second, third = read_inputs(table)
    assert (first, third) == (Text("x"), Text("y"))
    assert isinstance(second, Unreadable)
    assert second.where == f"{table}:3"
    with pytest.raises(DatasetError, match="0xff"):
        second.digest()


def test_rows_that_a_quote_has_swallowed_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 'text,label\na,b\n"c,d\ne,f\ng",h\n"two\nlines",d\n')
    assert pairs(path) == [("a", "b"), ("c,d\ne,f\ng", "h"), ("two\nlines", "d")]
    assert notices(path)["rows_in_quotes"].names == (f"{path}:3",)


def test_a_text_file_with_one_column_may_have_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "text\nwell, well\nso; so\n")
    assert list(read_inputs(path)) == [Text("well, well"), Text("so; so")]
