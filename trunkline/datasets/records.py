"""Rows of tables as columns and cells, whatever file they come from."""

import csv
import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.datasets.notes import Notes
from trunkline.datasets.table_files import lines_of
from trunkline.errors import DatasetError
from trunkline.values.unreadable import Unreadable

_DELIMITERS = (",", ";", "\t", "|")
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_NO_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Record:
    """One row of a table, and where it stands. `repeated` columns have more than one cell."""

    where: str
    cells: Mapping[str, object]
    repeated: frozenset[str] = frozenset()


class NumberWord(str):
    """A number of a JSON file, in the file's own digits."""


Problem = Callable[[Sequence[str]], str | None]
"""Says what is wrong with the names of a table's columns, if anything is."""


def column_name(name: str) -> str:
    """Returns the name by which columns are compared: any case, no byte order mark left over."""
    return name.replace("\ufeff", "").strip().casefold()


def delimited_records(path: Path, problem: Problem, notes: Notes) -> Iterator[Record | Unreadable]:
    """Reads the rows below a line of column names; the delimiter is the one that gives those.

    A row with a mistake is `Unreadable`. Raises `DatasetError` for one in the column names.
    """
    lines = _Lines(lines_of(path))
    columns, delimiter = _header(path, lines, problem)
    named = len(columns)
    while columns and not columns[-1]:
        columns.pop()
    expected, repeated = len(columns), _repeated(columns)
    reader = _reader(lines, delimiter)
    while True:
        try:
            cells = next_row(reader)
        except csv.Error as error:
            where = f"{path}:{lines.first}"
            lines.leave_first()
            yield Unreadable(where, _quote_words(error))
            continue
        where = f"{path}:{lines.first}"
        rows_inside = lines.count_like(delimiter, expected)
        lines.take()
        if cells is None:
            return
        if not any(map(str.strip, cells)):
            if cells and expected > 1:
                notes.add("left_out_empty_row", where)
                continue
            if not cells:
                continue
        if expected > 1 and [column_name(cell) for cell in cells[:expected]] == columns:
            notes.add("left_out_header", where)
            continue
        if len(cells) < expected or any(cells[expected:]):
            count = len(cells) if len(cells) < expected or named == expected else "more"
            yield Unreadable(where, f"expected {expected} columns, found {count}")
        else:
            if rows_inside:
                notes.add("rows_in_quotes", where)
            yield Record(where, dict(zip(columns, cells, strict=False)), repeated)


def names_columns(path: Path, problem: Problem) -> bool:
    """Returns whether the file's first line holds column names in which there is no problem."""
    try:
        _header(path, _Lines(lines_of(path)), problem)
    except DatasetError:
        return False
    return True


def json_records(path: Path) -> Iterator[Record | Unreadable]:
    """Reads one JSON object a line; a line that holds none is `Unreadable`.

    Numbers stay as they are written. Raises `DatasetError` for a JSON document of another form.
    """
    first = True
    for number, line in enumerate(lines_of(path), 1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        if first and line.lstrip()[0] == "[":
            raise _no_lines(where, "a JSON array")
        if first and line.strip() == "{":
            raise _no_lines(where, "a JSON object over several lines")
        first = False
        yield json_record(line, where)


def json_record(line: str, where: str) -> Record | Unreadable:
    """Reads the JSON object of a line. Numbers stay as they are written."""
    try:
        pairs = json.loads(
            line, object_pairs_hook=tuple, parse_int=NumberWord, parse_float=NumberWord
        )
    except (ValueError, RecursionError) as error:
        return Unreadable(where, f"not JSON: {error}")
    if not isinstance(pairs, tuple):
        return Unreadable(where, f"expected a JSON object, found {type(pairs).__name__}")
    names = [column_name(name) for name, _ in pairs]
    cells = dict(zip(names, (value for _, value in pairs), strict=True))
    return Record(where, cells, _repeated(names))


def _no_lines(where: str, found: str) -> DatasetError:
    return DatasetError(
        f"{where}: expected one JSON object a line, found {found}: "
        "jq -c 'if type == \"array\" then .[] else . end' FILE.json > FILE.jsonl"
    )


class _Lines:
    """Lines for a csv reader, kept until their row is whole, so that a broken one costs one line.

    A quote that nobody closes takes in line after line; these are read again as rows of their own.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._source = iter(lines)
        self._again: deque[str] = deque()
        self._row: list[str] = []
        self.first = 1
        """The number of the row's first line."""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._source)
        self._row.append(line)
        return line

    def count_like(self, delimiter: str, columns: int) -> int:
        """Counts the row's lines if there are several, each of which might be a row of its own."""
        several = len(self._row) > 1 and columns > 1
        alike = several and all(line.count(delimiter) == columns - 1 for line in self._row)
        return len(self._row) if alike else 0

    def take(self) -> None:
        """Ends the row."""
        self.first += len(self._row)
        self._row.clear()

    def leave_first(self) -> None:
        """Gives up the row's first line, and gives back the others."""
        self._again.extendleft(reversed(self._row[1:]))
        self.first += 1
        self._row.clear()

    def give_back(self) -> None:
        """Gives back the row."""
        self._again.extendleft(reversed(self._row))
        self._row.clear()


def _header(path: Path, lines: _Lines, problem: Problem) -> tuple[list[str], str]:
    """Reads the column names, under the delimiter with which they are those that are wanted."""
    first = next(lines, None)
    while first is not None and not first.strip():
        lines.take()
        first = next(lines, None)
    if first is None:
        raise DatasetError(f"{path}:1: the file is empty; a line with column names is expected")
    said = _SEP.fullmatch(first)
    if said:  # as spreadsheets write it
        lines.take()
    else:
        lines.give_back()
    likely = "," if path.suffix.lower() == ".csv" else "\t"
    tried: dict[str, list[str]] = {}
    for delimiter in said[1] if said else sorted(_DELIMITERS, key=lambda row: row != likely):
        try:
            names = [column_name(cell) for cell in next_row(_reader(lines, delimiter)) or []]
        except csv.Error:
            lines.give_back()
            continue
        if problem(names) is None:
            lines.take()
            return names, delimiter
        lines.give_back()
        tried[delimiter] = names
    where = f"{path}:{lines.first}"
    if not tried:
        raise DatasetError(f"{where}: a quote in the line of column names is not closed")
    # The one that makes most columns is the one that was meant, most likely.
    names = max(tried.values(), key=len)
    raise DatasetError(f"{where}: {problem(names)}; this line is to hold the column names")


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    return csv.reader(lines, delimiter=delimiter, strict=True)


def next_row(reader: Any) -> list[str] | None:
    """Reads a row; None at the end. The limit on cells is the server's, not that of `csv`.

    That one is of the whole process, so that it is lifted for the moment alone.
    """
    limit = csv.field_size_limit(_NO_LIMIT)
    try:
        cells: list[str] | None = next(reader, None)
    finally:
        csv.field_size_limit(limit)
    return cells


def _quote_words(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quote that begins here is never closed"
    return f"quotes that do not fit, which may be meant to be doubled: {error}"


def _repeated(names: Sequence[str]) -> frozenset[str]:
    return frozenset(name for name, count in Counter(names).items() if count > 1)
