"""JPEG files (ITU-T T.81, annex B)."""

from __future__ import annotations

import re

from models.image_files.parts import Note, Parts, Truncated, not_read

_MARKER = re.compile(rb"\xff+([\x01-\xfe])")
_END = b"\xff\xd9"
_SCAN = 0xDA
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a segment that mean nothing before the scan: temporary, and restarts."""
_EMPTY = frozenset({0xD8, 0xD9})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NOT_READ = frozenset({0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})
"""Frames of hierarchical JPEG, and of lossless JPEG with arithmetic coding."""
_LS_FRAME = 0xF7
_NOTES = frozenset({*range(0xE0, 0xF0), 0xFE})


def split(raw: bytes) -> Parts:
    """Parts the pixels from the segments that applications put beside them.

    Raises:
        InvalidInput: a layout that is not read.
        Truncated: the end marker is missing. libjpeg fills up what a scan lacks and warns at most,
            so without that marker nobody can say whether the picture is whole.
    """
    kept, notes, at = [raw[:2]], dict[str, Note](), 2
    while found := _MARKER.search(raw, at):
        code, at = found[1][0], found.end()
        if code == _SCAN:
            if raw.find(_END, at) < 0:
                raise Truncated("there is no end marker")
            return Parts(b"".join([*kept, b"\xff", raw[at - 1 :]]), notes)
        if code in _ALONE:
            continue
        length = 0 if code in _EMPTY else max(2, int.from_bytes(raw[at : at + 2], "big"))
        segment, at = raw[at : at + length], at + length
        if code == _LS_FRAME:
            raise not_read("JPEG-LS")
        if code in _FRAMES:
            _check_frame(code, segment)
        if code not in _NOTES or _decides_colours(code, segment):
            kept.append(bytes((0xFF, code)) + segment)
        else:
            _note(code, segment[2:], notes)
    raise Truncated("there is no scan")


def _check_frame(code: int, segment: bytes) -> None:
    bits, channels = segment[2], segment[7]
    if code in _NOT_READ:
        raise not_read(f"JPEG, process {code - 0xC0}")
    if segment[3:5] == b"\0\0":
        raise not_read("JPEG, with its height behind the first scan (DNL)")
    if bits != 8 or channels not in (1, 3, 4):
        raise not_read(f"JPEG, {bits} bits a sample, {channels} channels")


def _decides_colours(code: int, segment: bytes) -> bool:
    """Says whether libjpeg guesses the colours from this segment, as its `jdmarker.c` does."""
    if code == 0xE0:
        return len(segment) >= 16 and segment[2:7] == b"JFIF\0"
    return code == 0xEE and len(segment) >= 14 and segment[2:7] == b"Adobe"


def _note(code: int, body: bytes, notes: dict[str, Note]) -> None:
    """Keeps the segments that may say how the picture is turned."""
    exif, xmp = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
    if code == 0xE1 and body.startswith(exif):
        earlier = notes.get("exif", exif)
        assert isinstance(earlier, bytes)
        notes["exif"] = earlier + body.removeprefix(exif)
    elif code == 0xE1 and body.startswith(xmp):
        notes["xmp"] = body.removeprefix(xmp)
