"""GIF files (GIF89a specification, sections 15 and 23 to 26)."""

from __future__ import annotations

from models.image_files.parts import Parts

_EXTENSION, _CONTROL = 0x21, 0xF9
_TRANSPARENT, _WHOLE_CONTROL = 0x01, 4


def split(raw: bytes) -> Parts:
    """Parts the first picture from comments, texts and what applications put before it.

    What says how it is shown stays, as that names the transparent colour.
    """
    start = at = 13 + (3 * (2 << (raw[10] & 7)) if raw[10] & 0x80 else 0)
    controls = []
    while at + 2 < len(raw) and raw[at] == _EXTENSION:
        end = _end_of_blocks(raw, at + 2)
        if end is None:
            return Parts(raw)
        length, flags = raw[at + 2], raw[at + 3]
        if raw[at + 1] == _CONTROL and (
            length >= _WHOLE_CONTROL or (length and flags & _TRANSPARENT)
        ):
            controls.append(raw[at:end])
        at = end
    return Parts(b"".join([raw[:start], *controls, raw[at:]]))


def _end_of_blocks(raw: bytes, at: int) -> int | None:
    """Returns where a chain of blocks ends, each led by its length; None if it does not."""
    while at < len(raw):
        if not raw[at]:
            return at + 1
        at += 1 + raw[at]
    return None
