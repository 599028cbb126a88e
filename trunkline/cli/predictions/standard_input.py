"""Inputs from standard input, one a line, taken as they come."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from trunkline.datasets import Columns, FileInput, Notes, file_input, is_json_row, json_line_input
from trunkline.rows.chunking import MAX_HELD_BYTES, MAX_MESSAGE_ROWS, split
from trunkline.values.inputs import Text
from trunkline.values.unreadable import Unreadable

PATHS, TEXTS, JSON_LINES = "paths", "texts", "jsonl"

_AT_ONCE = 65_536
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class StandardInput:
    """The lines of standard input as inputs.

    Without a `kind` it is JSON lines if the first line is an object with an input, else what
    `other_kind` gives: it is asked when there is such a line. Empty lines are noted as left out.
    """

    def __init__(
        self, kind: str | None, other_kind: Callable[[], str], columns: Columns, notes: Notes
    ) -> None:
        self._kind = kind
        self._other_kind = other_kind
        self._columns = columns
        self._notes = notes

    def parts(self) -> Iterator[list[FileInput]]:
        """Yields the inputs that have come so far, and then waits for more.

        So nobody who writes a line and waits for its answer waits in vain.
        """
        number = 0
        for lines in _arriving(sys.stdin.buffer):
            inputs: list[FileInput] = []
            for line in lines:
                number += 1
                if number == 1 and line:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                item = self._input(line, f"-:{number}")
                inputs += [] if item is None else [item]
            yield from split(inputs, max_rows=MAX_MESSAGE_ROWS)

    def _input(self, line: bytes | None, where: str) -> FileInput | None:
        """Reads a line; None for an empty one."""
        if line is None or len(line) > MAX_HELD_BYTES:
            return Unreadable(where, f"a line may have {MAX_HELD_BYTES} bytes, this one has more")
        if not line.strip():
            self._notes.add("left_out_empty_row", where)
            return None
        if self._kind is None:
            self._kind = self._guess(line)
        if self._kind == PATHS:  # which need not be UTF-8
            if b"\0" in line:
                return Unreadable(where, "a zero byte is in no path; one path a line is expected")
            return file_input(Path(os.fsdecode(line)))
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            return Unreadable(where, f"not UTF-8: byte 0x{line[error.start]:02x}")
        if self._kind == TEXTS:
            return Text(text, where)
        return json_line_input(text, where, self._columns, Path())

    def _guess(self, line: bytes) -> str:
        is_row = is_json_row(line.decode(errors="replace"), self._columns)
        return JSON_LINES if is_row else self._other_kind()


def _arriving(stream: BinaryIO) -> Iterator[list[bytes | None]]:
    """Yields the lines that wait to be read, without their ends; None for one that is too long."""
    # Unbuffered: a read gives what there is. And a thread that waits in it holds no lock that the
    # interpreter takes when it ends.
    source = getattr(stream, "raw", stream)
    begun, whole = bytearray(), True
    while chunk := source.read(_AT_ONCE):
        *ends, rest = chunk.split(b"\n")
        lines: list[bytes | None] = []
        for end in ends:
            lines.append(bytes(begun + end).removesuffix(b"\r") if whole else None)
            begun, whole = bytearray(), True
        begun += rest
        if len(begun) > MAX_HELD_BYTES:
            begun, whole = bytearray(), False
        yield lines
    if begun or not whole:
        yield [bytes(begun).removesuffix(b"\r") if whole else None]
