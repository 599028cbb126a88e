"""Views of an image: what it might have looked like, for learning from few examples.

A view is a crop of random area and shape (Szegedy et al. 2015, "Going deeper with convolutions",
section 6), every second one mirrored, with brightness, contrast and colour changed a little (Howard
2013, "Some improvements on deep convolutional neural network based image classification", section
2). The same image, index and recipe give the same view, so views can be embedded once and kept.

For images that have no up and down, such as those of a microscope, there are the flips: the whole
image mirrored, upside down, and both.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from models.backbone import InputLimits, RawInput
from models.images import ImagePreprocessor

RECIPE = 1
"""Raise it when a view of the same image and index comes out differently."""

SIDE = 320
"""Pixels along each side; above what the backbones take, so that a crop is not blown up."""

AREA = (0.8, 1.0)
"""Share of the picture that a crop shows. Milder than where backbones are trained, as are the
others below: a frozen backbone does not learn to see past what a harsh view has lost."""

SHAPE = (0.9, 1 / 0.9)
"""Width over height of a crop."""

COLOUR = (0.9, 1 / 0.9)
"""Factors of brightness, contrast and colour."""


FLIPS = (
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_180,
)
FLIP_SIDE = 640
"""Pixels along each side of a flip: it should lose nothing that the image itself would show."""


def make_views(
    raw: RawInput, count: int, limits: InputLimits | None = None
) -> list[NDArray[np.uint8]]:
    """Return the first `count` views of an encoded image or of RGB pixels (height, width, 3).

    Each is uint8 of shape (SIDE, SIDE, 3). More views begin with the same ones.

    Raises:
        InvalidInput: the image cannot be decoded or is beyond the limits.
    """
    picture = _square(raw, SIDE, limits)
    return [_view(picture, index) for index in range(count)]


def make_flips(
    raw: RawInput, count: int, limits: InputLimits | None = None
) -> list[NDArray[np.uint8]]:
    """Return the first `count` flips, at most three, of an image as `make_views` takes it.

    Each is uint8 of shape (FLIP_SIDE, FLIP_SIDE, 3).

    Raises:
        InvalidInput: the image cannot be decoded or is beyond the limits.
    """
    picture = _square(raw, FLIP_SIDE, limits)
    return [np.asarray(picture.transpose(flip)) for flip in FLIPS[:count]]


def _square(raw: RawInput, side: int, limits: InputLimits | None) -> Image.Image:
    return Image.fromarray(ImagePreprocessor(side, limits or InputLimits()).prepare(raw).data)


def _view(picture: Image.Image, index: int) -> NDArray[np.uint8]:
    random = np.random.default_rng((RECIPE, index))
    view = _crop(picture, random)
    if index % 2 == 0:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = enhance(view).enhance(_between(COLOUR, random))
    return np.asarray(view)


def _crop(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Cut out a rectangle of random area, shape and place, and blow it up to the whole."""
    side = math.sqrt(random.uniform(*AREA)) * SIDE
    stretch = math.sqrt(_between(SHAPE, random))
    width, height = min(SIDE, side * stretch), min(SIDE, side / stretch)
    left, top = random.uniform(0, SIDE - width), random.uniform(0, SIDE - height)
    box = (left, top, left + width, top + height)
    return picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


def _between(factors: tuple[float, float], random: np.random.Generator) -> float:
    """Return a factor that is as likely to enlarge as to shrink: uniform in its logarithm."""
    low, high = factors
    return math.exp(random.uniform(math.log(low), math.log(high)))
