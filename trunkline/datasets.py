"""Labelled examples on disk: folders with one sub-folder per class, and tables.

A table is a CSV, TSV or JSONL file in UTF-8 with a `text` or a `path` column and, for examples, a
`label` column. Paths are relative to the table's own folder. Everything is read as it is needed.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trunkline.errors import DatasetError
from trunkline.values.inputs import Image, Text

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl"})

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class _Record:
    """One row of a table, and where it stands."""

    where: str
    cells: dict[str, object]


def read_examples(path: Path) -> Iterator[tuple[Image | Text, str]]:
    """Reads the (input, label) pairs of a folder or table, in a stable order.

    A folder holds one sub-folder per class, named like its label, with images at any depth. Raises
    `DatasetError`, which names file and line.
    """
    if path.is_dir():
        yield from _folder(path)
        return
    for record in _records(path):
        yield _input(record, path.parent), _label(record)


def read_inputs(path: Path) -> Iterator[Image | Text]:
    """Reads the inputs to predict of an image file, folder or table; labels are ignored.

    Raises `DatasetError`, which names file and line.
    """
    if path.is_dir():
        files = list(_images(path))
        if not files:
            raise DatasetError(f"{path}: no images in this folder ({_suffixes(IMAGE_SUFFIXES)})")
        yield from map(Image.open, files)
    elif path.suffix.lower() in TABLE_SUFFIXES:
        for record in _records(path):
            yield _input(record, path.parent)
    else:
        yield Image.open(path)


def _folder(root: Path) -> Iterator[tuple[Image, str]]:
    classes = sorted(entry for entry in root.iterdir() if entry.is_dir() and not _hidden(entry))
    if not classes:
        raise DatasetError(f"{root}: no sub-folders; one per class is expected, or a table")
    for folder in classes:
        files = list(_images(folder))
        if not files:
            raise DatasetError(f"{folder}: no images in this class ({_suffixes(IMAGE_SUFFIXES)})")
        for file in files:
            yield Image.open(file), folder.name


def _images(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.rglob("*")):
        shown = not any(part.startswith(".") for part in entry.relative_to(folder).parts)
        if shown and entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
            yield entry


def _hidden(entry: Path) -> bool:
    return entry.name.startswith(".")


def _records(path: Path) -> Iterator[_Record]:
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DatasetError(f"{path}: not a folder, and not a table ({_suffixes(TABLE_SUFFIXES)})")
    if suffix == ".jsonl":
        return _json_records(path)
    return _csv_records(path, delimiter="," if suffix == ".csv" else "\t")


def _csv_records(path: Path, delimiter: str) -> Iterator[_Record]:
    reader = csv.reader((line for _, line in _lines(path)), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            where, start = f"{path}:{start}", reader.line_num + 1
            if columns is None:
                columns = _columns(cells, where)
            elif cells:
                if len(cells) != len(columns):
                    expected, given = len(columns), len(cells)
                    raise DatasetError(f"{where}: expected {expected} columns, found {given}")
                yield _Record(where, dict(zip(columns, cells, strict=True)))
    except csv.Error as error:
        raise DatasetError(f"{path}:{start}: {error}") from error
    if columns is None:
        raise DatasetError(f"{path}:1: the file is empty; a line with column names is expected")


def _columns(cells: Iterable[str], where: str) -> list[str]:
    columns = [cell.strip().lower() for cell in cells]
    if len(set(columns)) != len(columns):
        raise DatasetError(f"{where}: a column name occurs twice: {', '.join(columns)}")
    return columns


def _json_records(path: Path) -> Iterator[_Record]:
    for number, line in _lines(path):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{where}: not JSON: {error}") from error
        if not isinstance(cells, dict):
            raise DatasetError(f"{where}: expected a JSON object, found {type(cells).__name__}")
        yield _Record(where, cells)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Reads lines with their ends and numbers, so that an encoding error can name its line."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield number, (line.removeprefix(_BOM) if number == 1 else line).decode()
                except UnicodeDecodeError as error:
                    raise DatasetError(f"{path}:{number}: not UTF-8: {error.reason}") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error


def _input(record: _Record, folder: Path) -> Image | Text:
    given = [column for column in ("text", "path") if column in record.cells]
    if len(given) != 1:
        found = ", ".join(record.cells)
        raise DatasetError(
            f"{record.where}: expected either a `text` or a `path` column, found: {found}"
        )
    value = record.cells[given[0]]
    if not isinstance(value, str) or (given[0] == "path" and not value):
        raise DatasetError(f"{record.where}: `{given[0]}` must be a string, found {value!r}")
    return Text(value) if given[0] == "text" else Image.open(folder / value)


def _label(record: _Record) -> str:
    if "label" not in record.cells:
        found = ", ".join(record.cells)
        raise DatasetError(f"{record.where}: expected a `label` column, found: {found}")
    value = record.cells["label"]
    label = str(value) if isinstance(value, str | int) else ""
    if not label:
        raise DatasetError(f"{record.where}: `label` must be a word or a number, found {value!r}")
    return label


def _suffixes(suffixes: Iterable[str]) -> str:
    return ", ".join(sorted(suffixes))
