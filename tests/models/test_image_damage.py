"""The pixels decide: damage in them is refused as Pillow refuses it, side notes refuse nothing."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from models import InvalidInput
from tests.models import image_samples as samples
from tests.models.image_samples import encoded
from tests.models.reading_pixels import (
    FILES,
    SIDE,
    assert_read_as_pillow_does,
    pixels,
    refusal,
)

# Pillow warns of tags that it passes over.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


DAMAGED = (
    "rgb.JPEG",
    "small-progressive.JPEG",
    "restarts.JPEG",
    "cmyk.JPEG",
    "notes.JPEG",
    "rgb.PNG",
    "several-chunks.PNG",
    "palette-alpha.PNG",
    "clear-rgb.PNG",
    "4-bit-grey.PNG",
    "rgb.WEBP",
    "lossless.WEBP",
    "rgba.WEBP",
    "frames.WEBP",
    "rgb.GIF",
    "clear-palette.GIF",
    "frames.GIF",
    "rgb.BMP",
    "palette.BMP",
    "rgba.BMP",
    "two-levels.BMP",
    "rgb.TIFF",
    "tiff_lzw.TIFF",
    "tiff_adobe_deflate.TIFF",
    "jpeg.TIFF",
    "packbits.TIFF",
    "fax.TIFF",
    "palette.TIFF",
    "planes.TIFF",
)


def damaged(raw: bytes, name: str, count: int) -> Iterator[tuple[str, bytes]]:
    """The file with a bit flipped, half of them in its first bytes, or cut off."""
    rolls = random.Random(name)
    for turn in range(count):
        if turn % 4 == 3:
            kept = rolls.randrange(9, len(raw))
            yield f"first {kept} bytes", raw[:kept]
            continue
        at = rolls.randrange(min(len(raw), 200) if turn % 2 else len(raw))
        bit = rolls.randrange(8)
        hurt = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
        yield f"bit {bit} of byte {at}", hurt


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_refused_or_read_as_pillow_reads_it(name: str) -> None:
    read = [assert_read_as_pillow_does(raw, what) for what, raw in damaged(FILES[name], name, 120)]
    assert not all(read)


@pytest.mark.long
@pytest.mark.parametrize("name", DAMAGED)
def test_much_damaged_file_is_refused_or_read_as_pillow_reads_it(name: str) -> None:
    for what, raw in damaged(FILES[name], f"{name} again", 3000):
        assert_read_as_pillow_does(raw, what)


@pytest.mark.parametrize("name", ["rgb.PNG", "several-chunks.PNG", "palette.PNG", "grey.PNG"])
def test_png_whose_pixels_are_not_those_written_is_never_read(name: str) -> None:
    raw, right, rolls = FILES[name], pixels(FILES[name]), random.Random(name)
    start, end = raw.index(b"IDAT") + 4, raw.index(b"IEND") - 4
    for _ in range(300):
        at = rolls.randrange(start, end)
        hurt = raw[:at] + bytes([raw[at] ^ 1 << rolls.randrange(8)]) + raw[at + 1 :]
        with contextlib.suppress(InvalidInput):
            np.testing.assert_array_equal(pixels(hurt), right)


def test_wrong_checksum_alone_does_not_refuse_sound_pixels() -> None:
    raw = FILES["rgb.PNG"]
    at = raw.index(b"IEND") - 6
    hurt = raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]
    np.testing.assert_array_equal(pixels(hurt), pixels(raw))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2])
def test_jpeg_without_its_end_marker_is_refused_whatever_the_picture(
    cut: int, progressive: bool
) -> None:
    rolls = np.random.default_rng(3)
    for size in [(1, 1), (8, 8), (16, 17), (90, 40), (300, 211), (700, 500)]:
        noise = rolls.integers(0, 255, (*size, 3), np.uint8)
        for picture in (noise, np.full_like(noise, 200), samples.rgb(*size)):
            raw = encoded(Image.fromarray(picture), "JPEG", progressive=progressive)
            assert refusal(raw[:-cut]) == "image.data"
            assert refusal(raw[:-cut] + bytes(9)) == "image.data"
            assert pixels(raw + b"what came after").shape == (SIDE, SIDE, 3)
