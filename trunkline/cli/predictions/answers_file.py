"""The file that answers go to, and with which an interrupted run goes on."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from trunkline.cli.naming import input_name
from trunkline.cli.output import Failure
from trunkline.cli.predictions.rows import ENCODING, Form
from trunkline.datasets import FileInput
from trunkline.datasets.records import next_row

_JSON_ROWS = (b'{"path": "', b'{"text": "', b'{"row": "')
"""How rows begin."""


@dataclass(frozen=True)
class _Row:
    """A row of the file, which ends before byte `end`; it has a version unless it failed."""

    name: str
    head: str
    version: int | None
    end: int


@dataclass
class Answered:
    """What a file holds already, up to byte `end`; what comes after that is half a line."""

    rows: int = 0
    failed: int = 0
    end: int = 0
    half: int = 0
    heads: set[str] = field(default_factory=set)
    versions: set[int] = field(default_factory=set)
    inputs: Counter[bytes] = field(default_factory=Counter)
    """How many rows there are that were not taken, by what stands for their input's name."""

    def add(self, row: _Row) -> None:
        """Adds a row of the file."""
        self.rows += 1
        self.failed += row.version is None
        self.end = row.end
        self.heads.add(row.head)
        self.versions |= {row.version} if row.version is not None else set()
        self.inputs[_key(row.name)] += 1

    def take(self, item: FileInput) -> bool:
        """Returns whether the file has a row of this input that was not taken; takes it."""
        key = _key(input_name(item))
        if not self.inputs[key]:
            return False
        self.inputs[key] -= 1
        return True


def read_answers(path: Path, form: Form) -> Answered:
    """Reads what a file of this form holds.

    There may be no file. Raises `Failure` for one that another command has written.
    """
    found = Answered()
    if not path.exists():
        return found
    with path.open("rb") as file:
        csv_rows = _csv_rows(path, file, form.columns, found)
        for row in csv_rows if form.is_csv else _json_rows(path, file):
            found.add(row)
        file.seek(found.end)
        half = file.read(len(form.header) + 16)
        found.half = path.stat().st_size - found.end
    if form.is_csv:
        ours = bool(found.end) or form.header.encode().startswith(half)
    else:
        ours = any(half.startswith(row) or row.startswith(half) for row in _JSON_ROWS)
    if not ours:
        raise _foreign(path, "the end")
    return found


def check_same(path: Path, found: Answered, head: str, version: int | None) -> None:
    """Raises `Failure` if the file has answers of another head, or of another version."""
    others = found.heads - {head}
    if others:
        named = ", ".join(sorted(others))
        raise Failure(f"{path} has answers of {named}, not of {head}: give another --output")
    if version is not None and found.versions - {version}:
        named = ", ".join(map(str, sorted(found.versions)))
        one = len(found.versions) == 1
        advice = f"--version {named} goes on with it" if one else "give another --output"
        raise Failure(
            f"{path} has answers of version{'' if one else 's'} {named}, and version {version} is "
            f"to answer now: {advice}"
        )


def open_after(path: Path, found: Answered | None) -> BinaryIO:
    """Opens a file behind what was found in it, without half a line; a new one if None.

    Raises `Failure` if there is a file that is to be new.
    """
    try:
        file = path.open("xb" if found is None else "ab")
    except FileExistsError as error:
        words = "--resume goes on with it; or name another file"
        raise Failure(f"{path} exists: {words}") from error
    if found is not None:
        file.truncate(found.end)
    return file


def _json_rows(path: Path, file: BinaryIO) -> Iterator[_Row]:
    end = 0
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            return
        end += len(line)
        try:
            row = json.loads(line)
            name = next(row[key] for key in ("path", "text", "row") if key in row)
            version = None if "error" in row else int(row["version"])
            yield _Row(str(name), str(row["head"]), version, end)
        except (ValueError, TypeError, KeyError, StopIteration) as error:
            raise _foreign(path, f"line {number}") from error


def _csv_rows(path: Path, file: BinaryIO, columns: list[str], found: Answered) -> Iterator[_Row]:
    records = _records(path, file)
    header = next(records, None)
    if header is None:
        return
    if header[0] != columns:
        raise Failure(
            f"{path}:1: other columns than this command writes: give the same --top, or another "
            "--output"
        )
    found.end = header[1]
    for number, (cells, end) in enumerate(records, 2):
        if len(cells) != len(columns):
            raise _foreign(path, f"record {number}")
        row = dict(zip(columns, cells, strict=True))
        if not row["error"] and not row["version"].isdigit():
            raise _foreign(path, f"record {number}")
        version = None if row["error"] else int(row["version"])
        yield _Row(row["name"], row["head"], version, end)


def _records(path: Path, file: BinaryIO) -> Iterator[tuple[list[str], int]]:
    """Yields whole records of a CSV file, each with the byte behind it."""
    read, last = 0, b""

    def lines() -> Iterator[str]:
        nonlocal read, last
        for last in file:
            read += len(last)
            yield last.decode(*ENCODING)

    reader = csv.reader(lines(), strict=True)
    number = 0
    while True:
        number += 1
        try:
            cells = next_row(reader)
        except csv.Error as error:
            if file.read(1):
                raise _foreign(path, f"record {number}") from error
            return
        if cells is None:
            return
        if not last.endswith(b"\r\n"):
            if last.endswith(b"\n"):
                raise _foreign(path, f"record {number}")
            return
        yield cells, read


def _foreign(path: Path, what: str) -> Failure:
    return Failure(
        f"{path}: {what} is not as `trunkline predict --output` writes it: give another --output"
    )


def _key(name: str) -> bytes:
    # A name may be a long text, and there may be very many.
    return blake2b(name.encode(errors="surrogatepass"), digest_size=16).digest()
