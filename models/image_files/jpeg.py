"""JPEG files (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
import struct
from itertools import islice

from models.errors import InvalidInput
from models.image_files.parts import Header, Note, Parts, Truncated, check_parts, not_read

MAX_SCANS = 100
"""Scans of one picture, as in libtiff (`LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER`). A progressive one
has ten or so; each goes over all pixels again, and may take a few bytes to do so."""

_MARKER = re.compile(rb"\xff([\x01-\xfe])")
"""More 0xFF may stand before it, and is passed over: to match it, too, takes quadratic time."""
_MARKER_AFTER_SCAN = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""Restarts belong to a scan."""
_SCAN_MARKER = re.compile(rb"\xff\xda")
_END = b"\xff\xd9"
_SCAN = 0xDA
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a segment that mean nothing before the scan: temporary, and restarts."""
_EMPTY = frozenset({0xD8, 0xD9})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NOT_READ = frozenset({0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})
"""Frames of hierarchical JPEG, and of lossless JPEG with arithmetic coding."""
_LS_FRAME = 0xF7
_HEADER_SEGMENTS = 1000
"""Segments before the first scan that are looked at for a picture's size."""
_CHANNEL_NS, _SCAN_NS = 3.0, 1.0
"""Nanoseconds a pixel and channel, and a pixel and scan."""
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
"""What begins the segments that may say how the picture is turned."""
_NOTES = frozenset({*range(0xE0, 0xF0), 0xFE})


def split(raw: bytes) -> Parts:
    """Parts the pixels from the segments that applications put beside them.

    Raises:
        InvalidInput: a layout that is not read; too many scans or segments.
        Truncated: the end marker is missing. libjpeg fills up what a scan lacks and warns at most,
            so without that marker nobody can say whether the picture is whole.
    """
    kept, at, parts = [raw[:2]], 2, 0
    exif, notes = list[bytes](), dict[str, Note]()
    while found := _MARKER.search(raw, at):
        code, at, parts = found[1][0], found.end(), parts + 1
        check_parts(parts)
        if code == _SCAN:
            if raw.find(_END, at) < 0:
                raise Truncated("there is no end marker")
            _check_scans(raw, at)
            if exif:
                notes["exif"] = _EXIF + b"".join(exif)
            return Parts(b"".join([*kept, b"\xff", raw[at - 1 :]]), notes)
        if code in _ALONE:
            continue
        length = _length(raw, code, at)
        segment, at = raw[at : at + length], at + length
        if code == _LS_FRAME:
            raise not_read("JPEG-LS")
        if code in _FRAMES:
            _check_frame(code, segment)
        if code not in _NOTES or _decides_colours(code, segment):
            kept.append(bytes((0xFF, code)) + segment)
        elif code == 0xE1 and segment.startswith(_EXIF, 2):
            exif.append(segment[2 + len(_EXIF) :])
        elif code == 0xE1 and segment.startswith(_XMP, 2):
            notes["xmp"] = segment[2 + len(_XMP) :]
    raise Truncated("there is no scan")


def _length(raw: bytes, code: int, at: int) -> int:
    """Returns the length of a marker's segment, which begins with that."""
    if code in _ALONE or code in _EMPTY:
        return 0
    return max(2, int.from_bytes(raw[at : at + 2], "big"))


def _check_scans(raw: bytes, at: int) -> None:
    """Counts the scans, as libjpeg comes upon them, from behind the marker of the first.

    Raises:
        InvalidInput: there are too many of them, or of the segments between.
    """
    scans, parts, at = 1, 1, at + _length(raw, _SCAN, at)
    while (found := _MARKER_AFTER_SCAN.search(raw, at)) and found[1] != _END[1:]:
        code, at, parts = found[1][0], found.end(), parts + 1
        check_parts(parts)
        scans += code == _SCAN
        at += _length(raw, code, at)
    if scans > MAX_SCANS:
        raise InvalidInput("has too many scans", field="image.scans", limit=MAX_SCANS, value=scans)


def header(raw: bytes) -> Header:
    """Reads the frame, and counts scans in the whole file, a third of a nanosecond a byte.

    Whether a fraction of the pixels will do is the backbone's to know, and does not count here.
    Raises nearly anything where there is no frame, or no scan near the beginning.
    """
    at, size = 2, (0, 0, 0)
    for _ in range(_HEADER_SEGMENTS):
        if raw[at] != 0xFF or raw[at + 1] in (0x00, 0xFF):
            raise ValueError("there is no marker")
        code, at = raw[at + 1], at + 2
        if code in _FRAMES:
            size = struct.unpack_from(">HHB", raw, at + 3)
        if code == _SCAN and size[2]:
            height, width, channels = size
            found = _SCAN_MARKER.finditer(raw, at - 2)
            scans = sum(1 for _ in islice(found, MAX_SCANS + 1))  # with more it is refused
            return Header(width, height, _CHANNEL_NS * channels + _SCAN_NS * scans)
        at += _length(raw, code, at)
    raise ValueError("there is no frame and scan")


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
