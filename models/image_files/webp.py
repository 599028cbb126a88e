"""WebP files (RFC 9649)."""

from __future__ import annotations

import struct

from models.image_files.parts import Damaged, Header, Note, Parts, check_parts

_FIRST = (b"VP8X", b"VP8 ", b"VP8L")
_NOTES = {b"EXIF": "exif", b"XMP ": "xmp"}
_PIXEL_NS = 20.0
_HEADER_CHUNKS = 1000
_PROFILE, _EXIF, _XMP = 0x20, 0x08, 0x04
"""Flags of the extended header that announce side notes."""


def split(raw: bytes) -> Parts:
    """Parts the pixels from profile, EXIF and XMP; the decoder passes over unknown chunks itself.

    A file whose chunks do not fill it as it says is left as it is, for the decoder to refuse.

    Raises:
        InvalidInput: too many chunks.
    """
    end = 8 + int.from_bytes(raw[4:8], "little")
    if raw[:4] != b"RIFF" or raw[12:16] not in _FIRST or end > len(raw):
        return Parts(raw)
    kept, notes, at, parts = list[bytes](), dict[str, Note](), 12, 0
    while at < end:
        parts += 1
        check_parts(parts)
        length = int.from_bytes(raw[at + 4 : at + 8], "little")
        name, after = raw[at : at + 4], at + 8 + length + length % 2
        if after > end:
            return Parts(raw)
        if name in _NOTES:
            notes.setdefault(_NOTES[name], raw[at + 8 : at + 8 + length])
        elif name != b"ICCP":
            kept.append(raw[at:after])
        at = after
    if kept and kept[0][:4] == b"VP8X" and len(kept[0]) > 8:
        flags = kept[0][8] & ~(_PROFILE | _EXIF | _XMP)
        kept[0] = kept[0][:8] + bytes([flags]) + kept[0][9:]
    body = b"WEBP" + b"".join(kept)
    return Parts(b"RIFF" + struct.pack("<I", len(body)) + body, notes)


def header(raw: bytes) -> Header:
    """Reads the first chunk. Raises nearly anything where it is none of a picture.

    Raises:
        ValueError: there are so many chunks that counting them takes long itself.
    """
    at = 12
    for _ in range(_HEADER_CHUNKS):
        length = int.from_bytes(raw[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
        if at >= len(raw):
            return Header(*size(raw), _PIXEL_NS)
    raise ValueError("there are many chunks")


def size(raw: bytes) -> tuple[int, int]:
    """Returns width and height from the header (sections 2.5 to 2.7).

    Raises:
        Damaged: no header of a picture is where one has to be.
    """
    chunk = raw[12:16]
    if chunk not in _FIRST:
        raise Damaged("it does not begin with a picture")
    if chunk == b"VP8X":
        width, height = (int.from_bytes(raw[i : i + 3], "little") for i in (24, 27))
        return width + 1, height + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", raw, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", raw, 26)
    return width & 0x3FFF, height & 0x3FFF
