"""Labelled examples on disk: folders with one sub-folder per class, and tables.

A table is a delimited file (`.csv`, `.tsv`, `.tab`, `.txt`) or one of JSON lines (`.jsonl`,
`.ndjson`, `.json`) with a column for the input, a text or a path, and for examples one for the
label. Paths are relative to the table's own folder. Everything is read as it is needed. A row that
cannot be read comes as an `Unreadable` in the place of its input; what is left out or changed is
noted.
"""

from collections.abc import Iterator
from pathlib import Path

from trunkline.datasets.folders import IMAGE_SUFFIXES, folder_examples, folder_images
from trunkline.datasets.notes import Notes
from trunkline.datasets.table_files import TABLE_SUFFIXES, is_named_otherwise, refuse_other_file
from trunkline.datasets.tables import Columns, table_examples, table_inputs
from trunkline.values.examples import NewExample
from trunkline.values.inputs import Image, Text
from trunkline.values.unreadable import Unreadable

__all__ = [
    "IMAGE_SUFFIXES",
    "TABLE_SUFFIXES",
    "Columns",
    "FileInput",
    "Notes",
    "read_examples",
    "read_inputs",
]

FileInput = Image | Text | Unreadable
"""An input as folders and tables give it."""


def read_examples(
    path: Path, columns: Columns | None = None, notes: Notes | None = None
) -> Iterator[NewExample]:
    """Reads the labelled examples of a folder or table, in a stable order.

    A folder holds one sub-folder per class, named like its label, with images at any depth. `notes`
    learns what is left out or changed. Raises `DatasetError` for what cannot be read at all.
    """
    notes = notes or Notes()
    if path.is_dir():
        return folder_examples(path, notes)
    if path.suffix.lower() not in TABLE_SUFFIXES:
        refuse_other_file(path)
    return table_examples(path, columns or Columns(), notes)


def read_inputs(
    path: Path, columns: Columns | None = None, notes: Notes | None = None
) -> Iterator[FileInput]:
    """Reads the inputs to predict of an image file, folder or table; labels are ignored.

    `notes` learns what is left out. Raises `DatasetError` for what cannot be read at all.
    """
    notes = notes or Notes()
    if path.is_dir():
        return folder_images(path, notes)
    if path.suffix.lower() in TABLE_SUFFIXES:
        return table_inputs(path, columns or Columns(), notes)
    if is_named_otherwise(path):
        refuse_other_file(path)
    return iter([Image.open(path)])
