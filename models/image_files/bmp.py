"""BMP files: what Pillow reads differently from what they say."""

from __future__ import annotations

import struct

from PIL import ImageFile

from models.errors import InvalidInput
from models.image_files.parts import Header, OpenedImage, not_read

_CORE_HEADER = 12
_PIXEL_NS, _BYTE_NS = 6.0, 1.0
_RUN_NS = 100.0, 500.0
_RUNS = (1, 2)
"""Compressions that Pillow unpacks in Python, run by run and, to the end of a row, byte by byte."""


def header(raw: bytes) -> Header:
    """Reads the header. Raises nearly anything where there is none."""
    (length,) = struct.unpack_from("<I", raw, 14)
    if length == _CORE_HEADER:
        width, height = struct.unpack_from("<HH", raw, 18)
        return Header(width, height, _PIXEL_NS, _BYTE_NS)
    width, height, compression = struct.unpack_from("<ii4xI", raw, 18)
    pixel_ns, byte_ns = _RUN_NS if compression in _RUNS else (_PIXEL_NS, _BYTE_NS)
    return Header(abs(width), abs(height), pixel_ns, byte_ns)


def levels(pixels: bytes, image: ImageFile.ImageFile) -> OpenedImage:
    """Refuses gray palettes of fewer entries than the pixels' bits have room for.

    Pillow takes black and white for one bit a pixel, and a gray ramp for eight, whatever the header
    says.
    """
    (header,) = struct.unpack_from("<I", pixels, 14)
    (bits,) = struct.unpack_from("<H", pixels, 24 if header == _CORE_HEADER else 28)
    if bits != {"1": 1, "L": 8}.get(image.mode, bits):
        raise not_read(f"BMP, {bits} bits a pixel, with a short gray palette")
    return OpenedImage(image)


def refusal(_pixels: bytes, error: Exception) -> InvalidInput | None:
    """Names a header, depth or compression that Pillow says it does not know."""
    words = str(error)
    return not_read(words) if words.startswith("Unsupported BMP") else None
