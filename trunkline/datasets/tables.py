"""Tables: CSV and its kin, and JSON lines, with columns for input, label and group."""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trunkline.datasets.labels import read_label
from trunkline.datasets.notes import Notes
from trunkline.datasets.records import (
    NumberWord,
    Record,
    column_name,
    delimited_records,
    json_record,
    json_records,
    names_columns,
)
from trunkline.datasets.table_files import JSON_SUFFIXES, check_text
from trunkline.datasets.text_files import file_input
from trunkline.errors import DatasetError
from trunkline.values.examples import NewExample
from trunkline.values.inputs import Image, Text
from trunkline.values.unreadable import Unreadable

_SHOWN = 60


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns, in any case.

    `text` or `path` is the input, by default whichever of these names the table has; `label` is
    called so by default; without a `group` there are no groups. `metadata` are pairs of a key and
    the column whose cells have its values; an empty cell has none.
    """

    text: str | None = None
    path: str | None = None
    label: str | None = None
    group: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.text is not None and self.path is not None:
            raise DatasetError("a table's input is either a text or a path", field="columns")

    @property
    def wanted_label(self) -> str:
        """The name of the labels' column."""
        return column_name(self.label or "label")

    def input_in(self, names: Sequence[str]) -> str | None:
        """Returns the name of the input's column among these; None if not exactly one is it."""
        named = self.text or self.path
        wanted = [column_name(named)] if named else ["text", "path"]
        found = [name for name in wanted if name in names]
        return found[0] if len(found) == 1 else None

    def problem(self, names: Sequence[str], *, labelled: bool) -> str | None:
        """Says what is wrong with the names of a table's columns; None if nothing is."""
        found = ", ".join(filter(None, names)) or "none"
        found = found if len(found) <= _SHOWN else found[:_SHOWN] + "…"
        item = self.input_in(names)
        if item is None:
            named = self.text or self.path
            wanted = f"a column `{named}`" if named else "either a `text` or a `path` column"
            options = "--text-column or --path-column name another one"
            return f"expected {wanted}, found: {found}; {options}"
        used = [item]
        if labelled:
            used.append(self.wanted_label)
            if self.wanted_label not in names:
                return (
                    f"expected a `{self.wanted_label}` column, found: {found}; "
                    "--label-column names another one"
                )
        if self.group is not None:
            used.append(column_name(self.group))
            if used[-1] not in names:
                return f"expected a `{self.group}` column, found: {found}"
        for _, column in self.metadata:
            if column_name(column) not in names:
                return f"expected a `{column}` column, found: {found}"
            if column_name(column) not in used:
                used.append(column_name(column))
        twice = [name for name in used if list(names).count(name) > 1]
        return f"a column name occurs twice: {twice[0]}" if twice else None


def table_examples(path: Path, columns: Columns, notes: Notes) -> Iterator[NewExample]:
    """Reads the examples of a table. Raises `DatasetError` for a mistake in its column names."""
    for record in _records(path, columns, labelled=True, notes=notes):
        if isinstance(record, Unreadable):
            yield NewExample(record)
            continue
        try:
            label = read_label(_word(record, columns.wanted_label), notes)
            group = _word(record, column_name(columns.group)).strip() if columns.group else ""
            item, pairs = _input(record, columns, path.parent), _metadata(record, columns)
            yield NewExample(item, label, group=group or None, metadata=pairs)
        except DatasetError as error:
            yield NewExample(Unreadable(record.where, error.message))


def table_inputs(path: Path, columns: Columns, notes: Notes) -> Iterator[Image | Text | Unreadable]:
    """Reads the inputs of a table. Raises `DatasetError` for a mistake in its column names."""
    for record in _records(path, columns, labelled=False, notes=notes):
        yield _input_or_problem(record, columns, path.parent)


def json_line_input(
    line: str, where: str, columns: Columns, folder: Path
) -> Image | Text | Unreadable:
    """Reads the input of one JSON line; paths are relative to the folder."""
    record = _with_columns(json_record(line, where), columns, labelled=False)
    return _input_or_problem(record, columns, folder)


def is_json_row(line: str, columns: Columns) -> bool:
    """Returns whether a line is a JSON object with an input."""
    record = _with_columns(json_record(line, ""), columns, labelled=False)
    return isinstance(record, Record)


def is_table(path: Path, columns: Columns) -> bool:
    """Returns whether a delimited file's first line names a column with inputs."""
    return names_columns(path, lambda names: columns.problem(names, labelled=False))


def _records(
    path: Path, columns: Columns, *, labelled: bool, notes: Notes
) -> Iterator[Record | Unreadable]:
    def problem(names: Sequence[str]) -> str | None:
        return columns.problem(names, labelled=labelled)

    if path.suffix.lower() not in JSON_SUFFIXES:
        yield from delimited_records(path, problem, notes)
        return
    for record in json_records(path):
        yield _with_columns(record, columns, labelled=labelled)


def _with_columns(
    record: Record | Unreadable, columns: Columns, *, labelled: bool
) -> Record | Unreadable:
    """Checks the names of a JSON line, which has names of its own."""
    wrong = None
    if isinstance(record, Record):
        wrong = columns.problem([*record.cells, *record.repeated], labelled=labelled)
    return Unreadable(record.where, wrong) if wrong else record


def _input_or_problem(
    record: Record | Unreadable, columns: Columns, folder: Path
) -> Image | Text | Unreadable:
    if isinstance(record, Unreadable):
        return record
    try:
        return _input(record, columns, folder)
    except DatasetError as error:
        return Unreadable(record.where, error.message)


def _input(record: Record, columns: Columns, folder: Path) -> Image | Text | Unreadable:
    name = columns.input_in([*record.cells])
    assert name is not None, "the column names were checked"
    value = record.cells[name]
    if not isinstance(value, str) or isinstance(value, NumberWord):
        raise DatasetError(f"`{name}` must be a string, found {_shown(value)}", field=name)
    text = check_text(value, name)
    if not text:
        raise DatasetError(f"`{name}` is empty", field=name)
    if columns.text is not None or (columns.path is None and name == "text"):
        return Text(text, record.where)
    if "\0" in text:
        raise DatasetError(f"`{name}` is no path: {text!r}", field=name)
    if "://" in text:
        raise DatasetError(f"`{name}` is an address: {text}; files are read alone", field=name)
    return _file(folder / text, text, name)


def _file(path: Path, text: str, name: str) -> Image | Text | Unreadable:
    """Returns the file that a row names. A table often lies elsewhere than it did once."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        hint = ""
        if text != text.strip():
            hint = "; there is white space around it"
        elif "\\" in text:
            hint = "; parts of a path are to stand between slashes (/)"
        raise DatasetError(f"`{name}`: {path}: {error.strerror}{hint}", field=name) from error
    if not stat.S_ISREG(mode):
        raise DatasetError(f"`{name}` is not a file: {path}", field=name)
    return file_input(path)


def _word(record: Record, name: str) -> str:
    """Returns a label or group as it stands in the file."""
    value = record.cells[name]
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise DatasetError(
            f"`{name}` must be a word or a number, found {_shown(value)}", field=name
        )
    return check_text(value, name)


def _metadata(record: Record, columns: Columns) -> dict[str, str] | None:
    """Returns the pairs of a row; None where no column is named."""
    if not columns.metadata:
        return None
    said = {
        key: _word(record, column_name(column)).strip()
        for key, column in columns.metadata
        if record.cells[column_name(column)] is not None
    }
    return {key: value for key, value in said.items() if value}


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, tuple | list):
        return "an object or array"
    return str(value)
