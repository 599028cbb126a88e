"""The formats that are read, told by their first bytes.

Each is handed to exactly one Pillow plugin, so that no plugin outside the list ever sees a
request's bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from models.errors import InvalidInput
from models.image_files import bmp, gif, jpeg, png, tiff, webp
from models.image_files.exif import with_short_exif
from models.image_files.other_formats import describe
from models.image_files.parts import Header, OpenedImage, Parts

FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF"


ROW_NS = 100.0
"""Nanoseconds of a row, however short it is."""
HIDDEN_NS = 1_000_000_000
"""Where no header is found."""


def _whole(raw: bytes) -> Parts:
    return Parts(raw)


def _as_is(_pixels: bytes, image: ImageFile.ImageFile) -> OpenedImage:
    return OpenedImage(image)


class _Format(NamedTuple):
    """How a format is read.

    Attributes:
        offset, signature: where its first bytes stand, and what they are.
        header: reads size and layout. Raises nearly anything for what is broken.
        split: parts pixels from side notes. Raises InvalidInput for what is not read, and nearly
            anything for what is broken.
        plugin: Pillow's. A name such as MPO opens as the JPEG that it begins with.
        levels: says what the plugin leaves to its caller. Raises InvalidInput, too.
        refusal: says of what the plugin failed with whether it is a layout that is not read.
    """

    offset: int
    signature: bytes
    header: Callable[[bytes], Header]
    split: Callable[[bytes], Parts]
    plugin: Callable[[io.BytesIO], ImageFile.ImageFile]
    levels: Callable[[bytes, ImageFile.ImageFile], OpenedImage] = _as_is
    refusal: Callable[[bytes, Exception], InvalidInput | None] = lambda _pixels, _error: None


_TIFF = tiff.header, tiff.split, tiff.TiffFile, tiff.levels, tiff.refusal
_FORMATS = (
    _Format(0, b"\xff\xd8\xff", jpeg.header, jpeg.split, JpegImagePlugin.JpegImageFile),
    _Format(0, png.SIGNATURE, png.header, png.split, PngImagePlugin.PngImageFile, png.levels),
    _Format(8, b"WEBP", webp.header, webp.split, WebPImagePlugin.WebPImageFile),
    _Format(0, b"GIF87a", gif.header, gif.split, GifImagePlugin.GifImageFile),
    _Format(0, b"GIF89a", gif.header, gif.split, GifImagePlugin.GifImageFile),
    _Format(0, b"BM", bmp.header, _whole, BmpImagePlugin.BmpImageFile, bmp.levels, bmp.refusal),
    _Format(0, b"II*\x00", *_TIFF),
    _Format(0, b"MM\x00*", *_TIFF),
)


def _format_of(raw: bytes) -> _Format | None:
    return next((form for form in _FORMATS if raw.startswith(form.signature, form.offset)), None)


def decode_ns(raw: bytes) -> int:
    """Estimates how many nanoseconds decoding takes, from what comes first in the file.

    It takes some microseconds, or milliseconds for large JPEGs and for files of many parts, raises
    nothing, and does not say whether the image can be read. What hides its size counts as large.
    """
    form = _format_of(raw)
    if form is None:
        return len(raw)  # is refused at once
    try:
        header = form.header(raw)
    except Exception:  # of broken bytes nearly anything
        return HIDDEN_NS
    pixels = header.width * header.height
    picture_ns = pixels * header.pixel_ns + header.height * ROW_NS
    return round(picture_ns + len(raw) * header.byte_ns + header.parts_ns)


def open_image(raw: bytes, check_size: Callable[[int, int], None]) -> OpenedImage:
    """Reads an image's header.

    Args:
        check_size: refuses a width and height that are beyond the limits, before memory is taken
            for them.

    Raises:
        InvalidInput: of another format, or in a layout that is not read.
        Exception: nearly anything, where the data are broken.
    """
    form = _format_of(raw)
    if form is None:
        raise InvalidInput(
            describe(raw) or "is of no known format",
            field="image.format",
            limit=FORMATS,
            value=f"starts with {raw[:8].hex(' ')}",
        )
    parts = form.split(raw)
    if form.split is webp.split:
        check_size(*webp.size(parts.pixels))  # this plugin allocates the canvas when it opens
    try:
        image = form.plugin(io.BytesIO(parts.pixels))
    except Exception as error:
        refusal = form.refusal(parts.pixels, error)
        if refusal is None:
            raise
        raise refusal from error
    check_size(*image.size)
    if form.split is tiff.split:
        check_size(*tiff.tile_size(image))
    opened = form.levels(parts.pixels, image)
    return replace(opened, notes=with_short_exif(parts.notes))
