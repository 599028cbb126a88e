"""GIF files (GIF89a specification, sections 15 and 23 to 26)."""

from __future__ import annotations

import re
import struct

from models.image_files.parts import Header, Parts, check_parts

_EXTENSION, _CONTROL, _PICTURE = 0x21, 0xF9, 0x2C
_BEGINNING = re.compile(rb"[!,;]")
"""Of an extension, of a picture, and of the end; decoders pass over everything else between."""
_HEADER_BLOCKS = 1000
_PIXEL_NS = 6.0
_TRANSPARENT, _WHOLE_CONTROL = 0x01, 4


def split(raw: bytes) -> Parts:
    """Parts the first picture from comments, texts and what applications put before it.

    What says how it is shown stays, as that names the transparent colour.

    Raises:
        InvalidInput: too many blocks before the picture.
    """
    start = at = _start(raw)
    controls = []
    parts = 0
    while (found := _BEGINNING.search(raw, at)) and raw[found.start()] == _EXTENSION:
        at = found.start()
        end, parts = _end_of_blocks(raw, at + 2, parts)
        if end is None:
            break
        length, flags = raw[at + 2], raw[at + 3]
        if raw[at + 1] == _CONTROL and (
            length >= _WHOLE_CONTROL or (length and flags & _TRANSPARENT)
        ):
            controls.append(raw[at:end])
        at = end
    return Parts(b"".join([raw[:start], *controls, raw[found.start() if found else len(raw) :]]))


def header(raw: bytes) -> Header:
    """Reads the size of the screen and of the first picture, which may be the larger one.

    Raises nearly anything where they are not found.
    """
    width, height = struct.unpack_from("<HH", raw, 6)
    at, blocks = _start(raw), 0
    while raw[at] == _EXTENSION:
        at += 2
        while raw[at] and blocks <= _HEADER_BLOCKS:
            at, blocks = at + 1 + raw[at], blocks + 1
        at, blocks = at + 1, blocks + 1
        if blocks > _HEADER_BLOCKS:
            raise ValueError("there is no picture near the beginning")
    if raw[at] != _PICTURE:
        raise ValueError("there is no picture")
    left, top, across, down = struct.unpack_from("<HHHH", raw, at + 1)
    return Header(max(width, left + across), max(height, top + down), _PIXEL_NS)


def _start(raw: bytes) -> int:
    """Returns where the first block is, behind the screen and its palette."""
    return 13 + (3 * (2 << (raw[10] & 7)) if raw[10] & 0x80 else 0)


def _end_of_blocks(raw: bytes, at: int, parts: int) -> tuple[int | None, int]:
    """Returns where a chain of blocks ends, each led by its length; None if it does not.

    With it comes the number of blocks so far, to which `parts` are added.
    """
    while at < len(raw):
        parts += 1
        check_parts(parts)
        if not raw[at]:
            return at + 1, parts
        at += 1 + raw[at]
    return None, parts
