"""BMP files: what Pillow reads differently from what they say."""

from __future__ import annotations

import struct

from PIL import ImageFile

from models.errors import InvalidInput
from models.image_files.parts import OpenedImage, not_read

_CORE_HEADER = 12


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
