"""Labelled examples on disk: folders with one sub-folder per class, and tables.

A table is a delimited file (`.csv`, `.tsv`, `.tab`, `.txt`) or one of JSON lines (`.jsonl`,
`.ndjson`, `.json`) with a column for the input, a text or a path, and for examples one for the
label. Paths are relative to the table's own folder. Everything is read as it is needed. A row that
cannot be read comes as an `Unreadable` in the place of its input; what is left out or changed is
noted.

A `.txt` file that is no table holds one text, where inputs are read.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from trunkline.datasets.folders import (
    IMAGE_SUFFIXES,
    count_files,
    folder_examples,
    folder_images,
    folder_texts,
)
from trunkline.datasets.names import name_below
from trunkline.datasets.notes import Notes
from trunkline.datasets.table_files import TABLE_SUFFIXES, is_named_otherwise, refuse_other_file
from trunkline.datasets.tables import (
    Columns,
    is_json_row,
    is_table,
    json_line_input,
    table_examples,
    table_inputs,
)
from trunkline.datasets.text_files import TEXT_SUFFIXES, file_input, file_text
from trunkline.values.examples import NewExample
from trunkline.values.inputs import Image, Text
from trunkline.values.unreadable import Unreadable

__all__ = [
    "IMAGE_SUFFIXES",
    "TABLE_SUFFIXES",
    "Columns",
    "FileInput",
    "Notes",
    "count_inputs",
    "file_input",
    "is_json_row",
    "json_line_input",
    "name_below",
    "read_examples",
    "read_inputs",
]

FileInput = Image | Text | Unreadable
"""An input as folders and tables give it."""


def read_examples(
    path: Path,
    columns: Columns | None = None,
    notes: Notes | None = None,
    *,
    names: bool = True,
) -> Iterator[NewExample]:
    """Reads the labelled examples of a folder or table, in a stable order.

    A folder holds one sub-folder per class, named like its label, with images at any depth. With
    `names` they have external ids: their paths below the folder, or, of texts in a table, its file
    name and the line. `notes` learns what is left out or changed. Raises `DatasetError` for what
    cannot be read at all.
    """
    notes = notes or Notes()
    if path.is_dir():
        examples = folder_examples(path, notes)
    else:
        if path.suffix.lower() not in TABLE_SUFFIXES:
            refuse_other_file(path)
        examples = table_examples(path, columns or Columns(), notes)
    return _named(path, examples, notes) if names else examples


def read_inputs(
    path: Path,
    columns: Columns | None = None,
    notes: Notes | None = None,
    *,
    texts: bool = False,
) -> Iterator[FileInput]:
    """Reads the inputs to predict of an image file, folder or table; labels are ignored.

    Of a folder the images are read, or the `texts`. A `.txt` file whose first line names no column
    with inputs is one text, unless columns are named. `notes` learns what is left out. Raises
    `DatasetError` for what cannot be read at all.
    """
    notes, columns = notes or Notes(), columns or Columns()
    if path.is_dir():
        return folder_texts(path, notes) if texts else folder_images(path, notes)
    if _is_one_text(path, columns):
        return iter([_one_text(path, notes)])
    if path.suffix.lower() in TABLE_SUFFIXES:
        return table_inputs(path, columns, notes)
    if is_named_otherwise(path):
        refuse_other_file(path)
    return iter([Image.open(path)])


def count_inputs(path: Path, columns: Columns, *, texts: bool = False) -> int | None:
    """Counts what `read_inputs` gives, by names alone; None for a table, which would be read."""
    if path.is_dir():
        return count_files(path, texts=texts)
    is_table = path.suffix.lower() in TABLE_SUFFIXES and not _is_one_text(path, columns)
    return None if is_table else 1


def _is_one_text(path: Path, columns: Columns) -> bool:
    unnamed = columns.text is None and columns.path is None
    return path.suffix.lower() in TEXT_SUFFIXES and unnamed and not is_table(path, columns)


def _one_text(path: Path, notes: Notes) -> FileInput:
    item = file_text(path)
    if isinstance(item, Text) and len(str(item.text).splitlines()) > 1:
        notes.add("one_text", str(path))
    return item


def _named(path: Path, examples: Iterator[NewExample], notes: Notes) -> Iterator[NewExample]:
    for example in examples:
        yield replace(example, external_id=name_below(path, example.input, notes))
