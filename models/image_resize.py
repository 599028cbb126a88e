"""Resize and crop: what part of a picture a backbone sees, and how it is brought to size.

The result has one fixed shape, whatever the picture. Turning the picture upright is part of it,
because that is cheapest after the resize.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from models.errors import BackboneError, InvalidInput

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright (TIFF 6.0, tag 274)."""

_ON_ITS_SIDE = (5, 6, 7, 8)

# How many times larger than the result a picture is kept while it is shrunk cheaply (JPEG's own
# scaled decoding, box averaging) before the bicubic filter runs.
_REDUCING_GAP = 2.0

MAX_STRETCH = 100
"""Longer side over shorter side of a picture whose proportions are kept: it is resized before it is
cut, and would become as large as it is long."""


class ResizeAndCrop(Protocol):
    """Brings pictures to one size."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """All that decides the outcome; part of the fingerprint."""
        ...

    @property
    def enough(self) -> tuple[int, int] | None:
        """Width and height that a JPEG needs to be decoded at; None for all its pixels."""
        ...

    def check(self, width: int, height: int) -> None:
        """Refuse a picture that is too long and narrow. Raises InvalidInput."""
        ...

    def apply(self, picture: Image.Image, orientation: int) -> Image.Image:
        """Return the upright picture, `width` x `height`, in the mode it came in.

        Args:
            orientation: EXIF orientation of the picture as it is stored, 1 to 8.
        """
        ...


@dataclass(frozen=True)
class WholePicture:
    """The whole picture, resized to a square: nothing is cut off, shapes are not kept."""

    size: int

    @property
    def height(self) -> int:
        return self.size

    @property
    def width(self) -> int:
        return self.size

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        return {"size": self.size, "filter": "bicubic", "reducing_gap": _REDUCING_GAP}

    @property
    def enough(self) -> tuple[int, int]:
        enough = round(self.size * _REDUCING_GAP)
        return enough, enough

    def check(self, width: int, height: int) -> None:
        pass

    def apply(self, picture: Image.Image, orientation: int) -> Image.Image:
        size = (self.size, self.size)
        return _turn(
            picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=_REDUCING_GAP), orientation
        )


@dataclass(frozen=True)
class CentreCrop:
    """The centre of the resized picture, pixel for pixel as the libraries cut it out with Pillow.

    A picture that is stored turned is resized before it is turned, which changes how it is rounded.

    Attributes:
        resize: length of the shorter side after the resize, the other one following in proportion
            (torchvision's `Resize(int)`); or height and width, whatever the picture's shape.
        crop: height and width of what is cut out of that.
        filter: Pillow's name of the resampling filter.
        rounding: what becomes of half a pixel beside the crop: `even` as in torchvision, `down` as
            in transformers.
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    filter: str = "bilinear"
    rounding: str = "even"

    def __post_init__(self) -> None:
        shortest = (self.resize,) * 2 if isinstance(self.resize, int) else self.resize
        if any(cut < 1 or cut > side for cut, side in zip(self.crop, shortest, strict=True)):
            raise BackboneError(
                f"crop: must be at least 1x1 and at most the size after the resize, {self.resize}, "
                f"is {self.crop[0]}x{self.crop[1]}"
            )
        if self.filter.upper() not in Image.Resampling.__members__:
            known = ", ".join(name.lower() for name in Image.Resampling.__members__)
            raise BackboneError(f"filter: must be one of {known}, is {self.filter!r}")

    @property
    def height(self) -> int:
        return self.crop[0]

    @property
    def width(self) -> int:
        return self.crop[1]

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        resize = self.resize if isinstance(self.resize, int) else "x".join(map(str, self.resize))
        return {
            "resize": resize,
            "crop": "x".join(map(str, self.crop)),
            "filter": self.filter,
            "rounding": self.rounding,
        }

    @property
    def enough(self) -> None:
        return None

    def check(self, width: int, height: int) -> None:
        shorter, longer = sorted((width, height))
        if isinstance(self.resize, int) and longer > MAX_STRETCH * shorter:
            raise InvalidInput(
                "one side is too long for the other",
                field="image.shape",
                limit=f"{MAX_STRETCH} to 1",
                value=f"{width}x{height}",
            )

    def apply(self, picture: Image.Image, orientation: int) -> Image.Image:
        across, down = self._resized(*picture.size)
        if orientation in _ON_ITS_SIDE and not isinstance(self.resize, int):
            across, down = down, across
        filter_ = Image.Resampling[self.filter.upper()]
        upright = _turn(picture.resize((across, down), filter_), orientation)
        left = self._margin(upright.width - self.width)
        upper = self._margin(upright.height - self.height)
        return upright.crop((left, upper, left + self.width, upper + self.height))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        if not isinstance(self.resize, int):
            return self.resize[1], self.resize[0]
        shorter = min(width, height)
        return self.resize * width // shorter, self.resize * height // shorter

    def _margin(self, spare: int) -> int:
        return round(spare / 2) if self.rounding == "even" else spare // 2


def _turn(picture: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture upright; small by now, so that it costs little."""
    turn = _UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn)
