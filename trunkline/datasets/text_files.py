"""Files that hold one text each."""

from pathlib import Path

from trunkline.datasets.table_files import check_text, lines_of
from trunkline.errors import DatasetError
from trunkline.rows.chunking import MAX_INPUT_BYTES
from trunkline.values.inputs import Image, Text
from trunkline.values.unreadable import Unreadable

TEXT_SUFFIXES = frozenset({".txt"})


def file_input(path: Path) -> Image | Text | Unreadable:
    """Returns what a file holds: a text, by its suffix, or an image, which is read when sent."""
    return file_text(path) if path.suffix.lower() in TEXT_SUFFIXES else Image.open(path)


def file_text(path: Path) -> Text | Unreadable:
    """Reads the text of a file, without the line end that the file ends with.

    As for tables, UTF-8 is expected, and UTF-16 and UTF-32 need a byte order mark.
    """
    try:
        size = path.stat().st_size
        if size > MAX_INPUT_BYTES:
            raise DatasetError(f"a text may have {MAX_INPUT_BYTES} bytes, this file has {size}")
        text = check_text("".join(lines_of(path)), path.name)
    except OSError as error:
        return Unreadable(str(path), f"cannot be read: {error.strerror}")
    except DatasetError as error:
        return Unreadable(str(path), error.message)
    end = next((end for end in ("\r\n", "\n", "\r") if text.endswith(end)), "")
    text = text.removesuffix(end)
    return Text(text, path=path) if text else Unreadable(str(path), "the file is empty")
