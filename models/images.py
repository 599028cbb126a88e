"""Decoding and preprocessing of images.

Formats are told by their first bytes and handed to exactly one Pillow plugin, so that no plugin
outside the list ever sees a request's bytes, and the pixel limit is checked before decoding.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from models.backbone import InputLimits, PreparedInput, RawInput
from models.errors import InvalidInput
from models.image_resize import ResizeAndCrop, WholePicture

# Damaged metadata make Pillow warn, once for every new number they hold; we decide by the pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Our limit on pixels is checked before Pillow's. Where only Pillow can know (a GIF frame larger
# than its screen) its warning has to be an error.
warnings.simplefilter("error", Image.DecompressionBombWarning)

FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF"

_PLUGINS: tuple[tuple[int, bytes, Callable[[io.BytesIO], ImageFile.ImageFile]], ...] = (
    (0, b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (0, b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (8, b"WEBP", WebPImagePlugin.WebPImageFile),
    (0, b"GIF87a", GifImagePlugin.GifImageFile),
    (0, b"GIF89a", GifImagePlugin.GifImageFile),
    (0, b"BM", BmpImagePlugin.BmpImageFile),
    (0, b"II*\x00", TiffImagePlugin.TiffImageFile),
    (0, b"MM\x00*", TiffImagePlugin.TiffImageFile),
)
"""Offset and bytes of the signature -> the plugin; MPO and the like open as their JPEG."""

_OPAQUE_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"})
_ALPHA_MODES = frozenset({"LA", "PA", "RGBA", "RGBa"})


class ImagePreprocessor:
    """Picture -> upright RGB, uint8, of shape (height, width, 3).

    Orientation is applied, the first frame is taken, transparency is laid on white, 16-bit gray is
    scaled to 8 bits. Normalisation is the network's.

    Args:
        resize: brings pictures to one size; a number takes all of each, resized to such a square.
    """

    def __init__(self, resize: ResizeAndCrop | int, limits: InputLimits) -> None:
        self._resize = WholePicture(resize) if isinstance(resize, int) else resize
        self._limits = limits

    @property
    def parameters(self) -> dict[str, str | int | float]:
        """Size, filter and decoder versions: each of them can change a pixel."""
        return {
            "revision": 1,
            **self._resize.parameters,
            "background": "white",
            "pillow": PIL.__version__,
            **{
                name: features.version(name) or "none"
                for name in ("jpg", "libjpeg_turbo", "webp", "libtiff")
            },
        }

    def prepare(self, raw: RawInput) -> PreparedInput:
        """Decode and resize one image, or resize one pixel tensor. Raises InvalidInput."""
        if isinstance(raw, bytes):
            pixels = self._decode(raw)
        elif isinstance(raw, np.ndarray):
            pixels = self._resize_tensor(raw)
        else:
            raise InvalidInput(
                "an image backbone cannot read this kind of input",
                field="input",
                limit="encoded image or pixel tensor",
                value=type(raw).__name__,
            )
        return PreparedInput(pixels, cost=self._resize.height * self._resize.width)

    def measure(self, raw: RawInput) -> tuple[int, int]:
        """Return width and height as stored of an image or tensor that `prepare` takes."""
        if isinstance(raw, np.ndarray):
            return raw.shape[1], raw.shape[0]
        assert isinstance(raw, bytes)
        return self._open(raw).size

    def collate(self, batch: Sequence[PreparedInput]) -> dict[str, NDArray[Any]]:
        """Stack into `pixels`, uint8 of shape (n, height, width, 3)."""
        return {"pixels": np.stack([item.data for item in batch])}

    def sample(self) -> RawInput:
        """Return a gray pixel tensor."""
        return np.full((self._resize.height, self._resize.width, 3), 127, np.uint8)

    def _decode(self, raw: bytes) -> NDArray[np.uint8]:
        limit = self._limits.max_image_bytes
        if not raw:
            raise InvalidInput("is empty", field="image.bytes", limit=limit, value=0)
        if len(raw) > limit:
            raise InvalidInput("too long", field="image.bytes", limit=limit, value=len(raw))
        try:
            return self._to_pixels(self._open(raw))
        except InvalidInput:
            raise
        except Exception as error:  # Pillow's plugins raise nearly anything on broken bytes
            raise InvalidInput(
                "cannot be decoded: the data are truncated or corrupt",
                field="image.data",
                limit="a complete image",
                value=f"{len(raw)} bytes, {type(error).__name__}",
            ) from error

    def _open(self, raw: bytes) -> ImageFile.ImageFile:
        """Read the header and check the size; nothing is decoded yet."""
        plugin = next((plugin for at, magic, plugin in _PLUGINS if raw.startswith(magic, at)), None)
        if plugin is None:
            raise InvalidInput(
                "is of no known format",
                field="image.format",
                limit=FORMATS,
                value=f"starts with {raw[:8].hex(' ')}",
            )
        if plugin is WebPImagePlugin.WebPImageFile:
            self._check_size(*_webp_size(raw))  # this plugin allocates the canvas when it opens
        image = plugin(io.BytesIO(raw))
        self._check_size(*image.size)
        return image

    def _check_size(self, width: int, height: int) -> None:
        limit = self._limits.max_pixels
        if width < 1 or height < 1 or width * height > limit:
            raise InvalidInput(
                "too many pixels" if width * height > limit else "has no pixels",
                field="image.pixels",
                limit=limit,
                value=f"{width}x{height}",
            )
        self._resize.check(width, height)

    def _to_pixels(self, image: ImageFile.ImageFile) -> NDArray[np.uint8]:
        if isinstance(image, JpegImagePlugin.JpegImageFile) and self._resize.enough is not None:
            image.draft(None, self._resize.enough)
        orientation = _orientation(image)
        image.load()
        return np.asarray(self._to_rgb(image, orientation))

    def _to_rgb(self, image: Image.Image, orientation: int) -> Image.Image:
        """Resize, crop and convert; whichever order handles fewer bytes."""
        mode, apply = image.mode, self._resize.apply
        if mode.startswith("I;16"):
            return apply(_to_8_bits(image), orientation).convert("RGB")
        if mode in _ALPHA_MODES or (mode in _OPAQUE_MODES and image.has_transparency_data):
            picture = apply(image.convert("RGBA"), orientation)
            white = Image.new("RGBA", picture.size, "white")
            return Image.alpha_composite(white, picture).convert("RGB")
        if mode == "L":
            return apply(image, orientation).convert("RGB")
        if mode in _OPAQUE_MODES:
            return apply(image.convert("RGB"), orientation)
        raise InvalidInput(
            "pixels of this kind have no agreed black and white",
            field="image.mode",
            limit="8 bits a channel, or 1 or 16 bits of gray; gray, palette, RGB, YCbCr, CMYK",
            value=mode,
        )

    def _resize_tensor(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise InvalidInput(
                "must hold RGB bytes",
                field="pixels.shape",
                limit="uint8 of shape (height, width, 3)",
                value=f"{pixels.dtype} of shape {pixels.shape}",
            )
        self._check_size(pixels.shape[1], pixels.shape[0])
        return np.asarray(self._resize.apply(Image.fromarray(pixels), 1))


def _orientation(image: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation, 1 to 8; upright where there is none or it is broken."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return 1  # Pillow turns these while it loads them
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a broken side note does not make the picture unusable
        return 1


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Turn 16-bit gray to 8-bit, 65535 becoming 255; Pillow itself would clip at 255."""
    wide = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))


def _webp_size(raw: bytes) -> tuple[int, int]:
    """Return width and height from a WebP header (RFC 9649, sections 2.5 to 2.7)."""
    chunk = raw[12:16]
    if chunk == b"VP8X":
        width, height = (int.from_bytes(raw[i : i + 3], "little") for i in (24, 27))
        return width + 1, height + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", raw, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", raw, 26)
    return width & 0x3FFF, height & 0x3FFF
