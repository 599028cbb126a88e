"""Tables and facts as lines of text, in which nothing is cut and nothing is broken within a word.

With a width, that of a terminal, lines fit it: cells break between words, and paths after a slash
where they are too long for a line of their own. A table that has no room even so becomes a block
of names and values for each row. Without a width a row is one line, however long it is.
"""

import math
import os
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TextIO

from rich.cells import cell_len

_GAP = 2
_AFTER_SLASH = re.compile(r"(?<=[/\\])(?=.)")
_QUANTITY = r"[-+]?\d[\d.,]*(e[-+]?\d+)?( ?(%|[kMG]?B|m?s|min|h|hours?|days?))?"
_RANGE = rf"{_QUANTITY} (to|±) {_QUANTITY}"
_FIGURE = re.compile(rf"{_RANGE}|{_QUANTITY}( \({_RANGE}\))?")
_WORD = re.compile(rf"({_QUANTITY}|{_RANGE}|\({_RANGE}\))(?!\S)|\S+")


def table_lines(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None
) -> tuple[list[str], list[str]]:
    """Returns the lines of the header, none where rows became blocks, and those of the rows."""
    columns = list(zip(header, *rows, strict=True))
    widths = _widths(columns, width)
    if widths is None:
        blocks = [facts_lines(zip(header, row, strict=True), width) for row in rows]
        return [], [line for block in blocks for line in ("", *block)][1:]
    right = [_are_figures(cells) for _, *cells in columns]
    first, *others = [_row_lines(cells, widths, right) for cells in (header, *rows)]
    return first, [line for lines in others for line in lines]


def fits(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> bool:
    """Returns whether the width has room for the table without a line break in a cell."""
    columns = list(zip(header, *rows, strict=True))
    return sum(map(_natural, columns)) <= _room(columns, width)


def facts_lines(facts: Iterable[tuple[str, str]], width: int | None) -> list[str]:
    """Returns names and values in two columns."""
    facts = list(facts)
    indent = max((cell_len(name) for name, _ in facts), default=0) + _GAP
    room = None if width is None else width - indent
    lines: list[str] = []
    for name, value in facts:
        first, *others = wrapped(value, room)
        lines += [_padded(name, indent) + first, *(" " * indent + line for line in others)]
    return [line.rstrip() for line in lines]


def wrapped(text: str, width: int | None) -> list[str]:
    """Breaks a text into lines. A word that is wider than the width has a line of its own."""
    if width is None or cell_len(text) <= width:
        return [text]
    lines: list[str] = []
    line = ""
    for word in _words(text):
        gap = " " if line else ""
        for piece in _AFTER_SLASH.split(word) if cell_len(word) > width else [word]:
            longer = line + gap + piece
            if line and cell_len(longer) > width:
                lines.append(line)
                longer = piece
            line, gap = longer, ""
    return [*lines, line]


def terminal_width(stream: TextIO) -> int | None:
    """Returns how many columns a stream's terminal has, None where it is none."""
    return os.get_terminal_size(stream.fileno()).columns or 80 if stream.isatty() else None


def has_styles() -> bool:
    """Returns whether a terminal may be sent escape sequences (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _widths(columns: Sequence[Sequence[str]], width: int | None) -> list[int] | None:
    """Returns the width of each column, None where words would have to be broken.

    Headers give way first, then cells between words, then paths. The first column names the row,
    and is there to be copied: each time it gives way after the others.
    """
    widths = [_natural(cells) for cells in columns]
    room = _room(columns, width)
    if sum(widths) <= room:
        return widths
    for least in zip(*map(_least_widths, columns), strict=True):
        for group in (range(1, len(columns)), range(1)):
            while sum(widths) > room and (wide := [at for at in group if widths[at] > least[at]]):
                widths[max(wide, key=widths.__getitem__)] -= 1
    return widths if sum(widths) <= room else None


def _room(columns: Sequence[object], width: int | None) -> float:
    """Returns how much of the width is left for what stands in the columns."""
    return math.inf if width is None else width - _GAP * (len(columns) - 1)


def _least_widths(column: Sequence[str]) -> tuple[int, int, int]:
    """Returns how narrow a column can be: only its header broken, words apart, and paths broken."""
    header, *cells = column
    words = [word for cell in {*column} for word in _words(cell)]
    pieces = (piece for word in words for piece in _AFTER_SLASH.split(word))
    return max(_natural(cells), _natural(_words(header))), _natural(words), _natural(pieces)


def _words(text: str) -> list[str]:
    """Returns the words of a text; a number with its unit, and a range, are one."""
    return [match.group() for match in _WORD.finditer(text)]


def _natural(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _are_figures(cells: Sequence[str]) -> bool:
    """Returns whether most of a column's cells that say something are figures."""
    said = [cell for cell in cells if cell != "-"]
    return 2 * sum(bool(_FIGURE.fullmatch(cell)) for cell in said) > len(said)


def _row_lines(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    columns = [wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return [
        (" " * _GAP).join(map(_padded, line, widths, right)).rstrip()
        for line in zip_longest(*columns, fillvalue="")
    ]


def _padded(text: str, width: int, right: bool = False) -> str:
    padding = " " * (width - cell_len(text))
    return padding + text if right else text + padding
