"""What the formats' modules make of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import ImageFile

from models.errors import InvalidInput

READ = "8 bits a channel, or 1 to 16 bits of gray; gray, palette, RGB, YCbCr, CMYK"

MAX_PARTS = 65_536
"""Segments, chunks or blocks of one file that are looked at. Each is a step of this process, and
may be as short as three bytes; a photo has some hundreds."""

Note = bytes | str


class Truncated(ValueError):
    """A file that ends before its picture does."""


class Damaged(ValueError):
    """Pixels that do not fit their checksum."""


@dataclass(frozen=True)
class Parts:
    """An image file taken apart.

    Attributes:
        pixels: a file of the same format with all that the pixels need, and nothing else.
        notes: where the orientation may stand, under the names that Pillow has for them in an
            image's `info`.
    """

    pixels: bytes
    notes: Mapping[str, Note] = field(default_factory=dict)


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file say of the work of decoding it.

    Times were measured on pictures of 49 million pixels with little in them: a pixel's is what its
    layout costs alone, and what the bytes hold comes to that. They are right in proportion.

    Attributes:
        width, height: in pixels, as stored; of a picture in tiles at least a whole one.
        pixel_ns: nanoseconds that a pixel takes to be unpacked, converted and resized.
        byte_ns: nanoseconds that a byte of the file takes.
        parts_ns: nanoseconds that all its parts take, such as strips, however little is in them.
    """

    width: int
    height: int
    pixel_ns: float
    byte_ns: float = 20.0
    parts_ns: float = 0.0


@dataclass(frozen=True)
class OpenedImage:
    """An image whose header was read, and nothing decoded.

    Attributes:
        image: as Pillow opened it.
        notes: to be put into `image.info` once it is loaded.
        black, white: what these are among gray levels of more than 8 bits.
        transparent: such a level, or three of them, that is to be seen through.
        low: the lower 8 bits of each sample, where Pillow gives the higher 8 alone and these are
            needed to tell what is transparent.
    """

    image: ImageFile.ImageFile
    notes: Mapping[str, Note] = field(default_factory=dict)
    black: int = 0
    white: int = 0xFFFF
    transparent: int | tuple[int, int, int] | None = None
    low: ImageFile.ImageFile | None = None


def check_parts(count: int, limit: int = MAX_PARTS) -> None:
    """Refuses a file that is cut into more parts than are looked at. Raises InvalidInput."""
    if count > limit:
        raise InvalidInput(
            "is cut into too many segments, chunks, blocks, strips or tiles",
            field="image.parts",
            limit=limit,
            value=f"more than {limit}",
        )


def not_read(what: str) -> InvalidInput:
    """Returns the refusal of pixels that may be sound, in a layout that is not read."""
    return InvalidInput(
        "pixels of this kind are not read; convert the image to 8 bits a channel",
        field="image.mode",
        limit=READ,
        value=what,
    )
