"""EXIF, a TIFF directory beside a picture (EXIF 3.0, section 4.6)."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from models.image_files.parts import Note

MAX_ENTRIES = 1000
"""Entries of the directory that are looked at: microseconds for each. Cameras write some tens, by
rising numbers, and the orientation's is one of the lowest."""

_MARKS = re.compile(rb"(Exif\0\0){0,2}")
_PROFILE = "Raw profile type exif"


def with_short_exif(notes: Mapping[str, Note]) -> Mapping[str, Note]:
    """Returns notes whose EXIF has no more entries than are looked at; it may be a text of PNG."""
    exif, profile = notes.get("exif"), notes.get(_PROFILE)
    if exif is None and isinstance(profile, str):
        try:
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))  # as Pillow reads it
        except ValueError:
            return notes
    return {**notes, "exif": _shortened(exif)} if isinstance(exif, bytes) else notes


def _shortened(exif: bytes) -> bytes:
    marks = _MARKS.match(exif)
    start = marks.end() if marks else 0
    order = "<" if exif.startswith(b"II", start) else ">"
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, start + 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start + at)
    except struct.error:
        return exif  # there is no directory
    at += start
    few = struct.pack(f"{order}H", min(count, MAX_ENTRIES))
    return exif[:at] + few + exif[at + len(few) :]
