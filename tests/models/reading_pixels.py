"""Files of pictures, their pixels as read here and as plain Pillow reads them."""

import io
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import InputLimits, InvalidInput
from models.images import ImagePreprocessor
from tests.models import image_samples as samples
from tests.models.image_samples import chunk, encoded

SIDE = 48
ORDER = 1 << 20
preprocessor = ImagePreprocessor(SIDE, InputLimits(max_pixels=ORDER))


def reference(raw: bytes) -> NDArray[np.uint8]:
    """The picture as Pillow alone gives it. Raises nearly anything."""
    image = Image.open(io.BytesIO(raw))
    if image.width * image.height > ORDER:
        raise ValueError("too many pixels")
    image.load()
    shape = (SIDE, SIDE)
    bicubic = Image.Resampling.BICUBIC
    if image.has_transparency_data:
        picture = image.convert("RGBA").resize(shape, bicubic, reducing_gap=2.0)
        white = Image.new("RGBA", shape, "white")
        return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))
    picture = image if image.mode == "L" else image.convert("RGB")
    return np.asarray(picture.resize(shape, bicubic, reducing_gap=2.0).convert("RGB"))


def pixels(raw: bytes) -> NDArray[np.uint8]:
    return preprocessor.prepare(raw).data


def refusal(raw: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        pixels(raw)
    return caught.value.field


# What the checksum of the pixels proves to be damage is refused although Pillow would read it, and
# so is a JPEG without its end marker.
STRICTER = ("fit their checksum", "incorrect data check", "no end marker")


def split_data(raw: bytes, size: int = 700) -> bytes:
    """A PNG file whose pixels lie in several chunks."""
    at = raw.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", raw, at)
    data = raw[at + 8 : at + 8 + length]
    parts = [chunk(b"IDAT", data[start : start + size]) for start in range(0, length, size)]
    return raw[:at] + b"".join(parts) + raw[at + 12 + length :]


FILES = dict(samples.sound())
FILES |= {
    "several-chunks.PNG": split_data(FILES["rgb.PNG"]),
    "small-progressive.JPEG": encoded(Image.fromarray(samples.rgb()), "JPEG", progressive=True),
}


def assert_read_as_pillow_does(raw: bytes, what: str) -> bool:
    """Returns whether it was read."""
    try:
        expected = reference(raw)
    except Exception:
        with pytest.raises(InvalidInput):
            pixels(raw)
        return False
    try:
        found = pixels(raw)
    except InvalidInput as error:
        reason = str(error.__cause__)
    else:
        np.testing.assert_array_equal(found, expected, err_msg=what)
        return True
    assert any(words in reason for words in STRICTER), (what, reason)
    return False
