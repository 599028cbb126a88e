"""Images scaled down to pixels that something can be learned from directly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray

import models
from models import InputLimits
from models.images import ImagePreprocessor
from service.extraction.decoding import DecodeCalls
from service.requests.inputs import RawInput

SIDE = 32
"""Pixels along each side at most. Smaller images are kept as they are."""


async def small_pixels(
    raws: Sequence[RawInput],
    limits: InputLimits,
    decoding: DecodeCalls,
    tenant: str,
    deadline: float | None = None,
) -> NDArray[np.uint8]:
    """Returns the images, all of one size; uint8 of shape (n, width).

    Whole images become squares as large as the longest side among them, `SIDE` at most. One
    channel is kept where all images are gray.

    Args:
        raws: images and pixels that can be decoded.
        limits: limits of what is decoded.
        deadline: on the event loop's clock; no image is begun after it.

    Raises:
        DeadlineExceeded: the deadline passed.
    """
    measuring = ImagePreprocessor(SIDE, limits)
    longest = await asyncio.to_thread(
        lambda: max(max(measuring.measure(_content(raw))) for raw in raws)
    )
    preprocessor = ImagePreprocessor(min(SIDE, longest), limits)

    async def decode(raw: RawInput) -> NDArray[np.uint8]:
        prepared = await decoding.run(
            tenant,
            partial(preprocessor.prepare, _content(raw)),
            cost=raw.decoding_ns,
            deadline=deadline,
        )
        return cast("NDArray[np.uint8]", prepared.data)

    pixels = np.stack(await asyncio.gather(*map(decode, raws)))
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    return pixels.reshape(len(pixels), -1)


def _content(raw: RawInput) -> models.RawInput:
    return cast("models.RawInput", raw.content)
