"""Files of tables: what they are, and their lines as text."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Never

from trunkline.errors import DatasetError

DELIMITED_SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".txt"})
JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
TABLE_SUFFIXES = DELIMITED_SUFFIXES | JSON_SUFFIXES

_ENCODINGS = (
    # The first two bytes of UTF-32 are those of UTF-16, so that it has to be asked for before it.
    (codecs.BOM_UTF32_LE, "utf-32", "surrogatepass"),
    (codecs.BOM_UTF32_BE, "utf-32", "surrogatepass"),
    (codecs.BOM_UTF16_LE, "utf-16", "surrogatepass"),
    (codecs.BOM_UTF16_BE, "utf-16", "surrogatepass"),
    (codecs.BOM_UTF8, "utf-8-sig", "surrogateescape"),
    (b"", "utf-8", "surrogateescape"),
)
_SPREADSHEET = "a spreadsheet; save it as CSV in UTF-8"
_PARQUET = "a Parquet file; write it as CSV or JSON lines"
_PACKED = "packed; unpack it first"
_BY_START = (
    (b"PK\x03\x04", "a spreadsheet or an archive; save a spreadsheet as CSV, unpack an archive"),
    (b"\xd0\xcf\x11\xe0", _SPREADSHEET),
    (b"PAR1", _PARQUET),
    (b"ARROW1", "an Arrow file; write it as CSV or JSON lines"),
    (b"SQLite format 3", "a database; write one table of it as CSV"),
    (b"\x1f\x8b", _PACKED),
    (b"BZh", _PACKED),
    (b"\xfd7zXZ", _PACKED),
    (b"(\xb5/\xfd", _PACKED),
    (b"%PDF", "a PDF; a table is expected"),
)
_BY_SUFFIX = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), _SPREADSHEET),
    **dict.fromkeys((".parquet", ".pq"), _PARQUET),
    **dict.fromkeys((".feather", ".arrow"), "an Arrow file; write it as CSV or JSON lines"),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z", ".rar"), _PACKED),
    **dict.fromkeys(
        (".pkl", ".pickle", ".npy", ".npz", ".h5", ".mat"),
        "a file of one program; write it as CSV or JSON lines",
    ),
}
_LOOKED_AT = 1024


def is_named_otherwise(path: Path) -> bool:
    """Returns whether the file's suffix says that it is data of a kind that is not read."""
    return path.suffix.lower() in _BY_SUFFIX


def refuse_other_file(path: Path) -> Never:
    """Raises `DatasetError` for what is neither a folder nor a table, and says what to do."""
    known = _BY_SUFFIX.get(path.suffix.lower())
    if not path.exists():
        raise DatasetError(f"{path}: No such file or directory")
    suffixes = ", ".join(sorted(TABLE_SUFFIXES))
    if known:
        raise DatasetError(f"{path}: not a table ({suffixes}), but {known}")
    raise DatasetError(f"{path}: not a folder, and not a table ({suffixes})")


def lines_of(path: Path) -> Iterator[str]:
    """Reads lines with their ends: line feeds, carriage returns, or both.

    Bytes that are no UTF-8 become lone surrogates (PEP 383), so that they cost their own row. With
    a byte order mark, UTF-16 and UTF-32 are read, too. Raises `DatasetError`.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_LOOKED_AT)
        encoding, errors = _encoding(path, start)
        with path.open(encoding=encoding, errors=errors, newline="") as lines:
            yield from lines
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not {error.encoding}: {error.reason}") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error


def check_text(text: str, column: str) -> str:
    """Returns the text. Raises `DatasetError` if bytes of it were no UTF-8."""
    wrong = re.search("[\ud800-\udfff]", text)
    if wrong is None:
        return text
    code = ord(wrong[0])
    if 0xDC80 <= code <= 0xDCFF:
        words = f"`{column}` is not UTF-8: byte 0x{code - 0xDC00:02x}; save the file as UTF-8"
    else:
        words = f"`{column}` is not valid Unicode: it has half of a pair, U+{code:X}"
    raise DatasetError(words, field=column)


def _encoding(path: Path, start: bytes) -> tuple[str, str]:
    """Returns encoding and error handler by the file's first bytes."""
    for magic, what in _BY_START:
        if start.startswith(magic):
            raise DatasetError(f"{path}: not a table, but {what}")
    encoding, errors = next(row[1:] for row in _ENCODINGS if start.startswith(row[0]))
    if encoding == "utf-8" and start.count(0) > len(start) // 4:
        raise DatasetError(
            f"{path}: seems to be UTF-16 without a byte order mark; save the table as UTF-8"
        )
    return encoding, errors
