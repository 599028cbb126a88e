"""What direct training sees of pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import InputLimits
from service.advice.small_images import SIDE, small_pixels
from service.extraction.decoding import DecodeCalls
from service.requests.inputs import Kind, RawInput


def png(pixels: NDArray[np.uint8]) -> RawInput:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return RawInput(Kind.IMAGE, "", file.getvalue())


def gray(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


async def test_small_gray_pictures_are_kept_as_they_are(decoding: DecodeCalls) -> None:
    pictures = [gray(8, 8, seed=number) for number in range(3)]
    pixels = await small_pixels(
        [png(picture) for picture in pictures], InputLimits(), decoding, "acme"
    )
    assert (pixels == np.stack(pictures).reshape(3, 64)).all()


async def test_colours_are_kept_where_there_are_any(decoding: DecodeCalls) -> None:
    colourful = gray(5, 5, 3)
    raws = [RawInput(Kind.PIXELS, "", colourful), png(gray(5, 5))]
    pixels = await small_pixels(raws, InputLimits(), decoding, "acme")
    assert (pixels[0] == colourful.ravel()).all()
    assert pixels.shape == (2, 75)


@pytest.mark.parametrize(
    ("shapes", "side"), [(((40, 90), (6, 6)), SIDE), (((12, 20), (20, 12)), 20)]
)
async def test_pictures_become_squares_of_one_size(
    decoding: DecodeCalls, shapes: tuple[tuple[int, int], ...], side: int
) -> None:
    pixels = await small_pixels(
        [png(gray(*shape)) for shape in shapes], InputLimits(), decoding, "acme"
    )
    assert pixels.shape == (len(shapes), side * side)
    assert pixels.dtype == np.uint8
