"""Images scaled down to pixels that something can be learned from directly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

import models
from models import InputLimits
from models.images import ImagePreprocessor
from service.requests.inputs import RawInput

SIDE = 32
"""Pixels along each side at most. Smaller images are kept as they are."""


def small_pixels(raws: Sequence[RawInput], limits: InputLimits) -> NDArray[np.uint8]:
    """Returns the images, all of one size; uint8 of shape (n, width).

    Whole images become squares as large as the longest side among them, `SIDE` at most. One
    channel is kept where all images are gray.

    Args:
        raws: images and pixels that can be decoded.
        limits: of what is decoded.
    """
    contents = [cast("models.RawInput", raw.content) for raw in raws]
    measuring = ImagePreprocessor(SIDE, limits)
    longest = max(max(measuring.measure(content)) for content in contents)
    preprocessor = ImagePreprocessor(min(SIDE, longest), limits)
    pixels = np.stack([preprocessor.prepare(content).data for content in contents])
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    return pixels.reshape(len(pixels), -1)
