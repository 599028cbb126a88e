"""Decoding and preprocessing of images.

The pixels decide: an error in them is never passed over, and what a file says beside them never
refuses a picture (`models.image_files`). The pixel limit is checked before decoding.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin, TiffImagePlugin, features

from models.backbone import InputLimits, PreparedInput, RawInput
from models.errors import InvalidInput
from models.image_files import OpenedImage, open_image
from models.image_files.parts import READ
from models.image_resize import ResizeAndCrop, WholePicture

# Damaged metadata make Pillow warn, once for every new number they hold; we decide by the pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Our limit on pixels is checked before Pillow's. Where only Pillow can know (a GIF frame larger
# than its screen) its warning has to be an error.
warnings.simplefilter("error", Image.DecompressionBombWarning)

_PART = 1 << 16
"""Pixels that are computed with at once."""
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
        return self._open(raw).image.size

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
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise InvalidInput(
                "too many pixels",
                field="image.pixels",
                limit=self._limits.max_pixels,
                value=f"more than {Image.MAX_IMAGE_PIXELS}",
            ) from error
        except Exception as error:  # Pillow's plugins raise nearly anything on broken bytes
            raise InvalidInput(
                "cannot be decoded: the data are truncated or corrupt",
                field="image.data",
                limit="a complete image",
                value=f"{len(raw)} bytes, {type(error).__name__}",
            ) from error

    def _open(self, raw: bytes) -> OpenedImage:
        """Read the header and check the size; nothing is decoded yet."""
        return open_image(raw, self._check_size)

    def _check_size(self, width: int, height: int) -> None:
        limit = self._limits.max_pixels
        if width < 1 or height < 1 or width * height > limit:
            raise InvalidInput(
                "too many pixels" if width * height > limit else "has no pixels",
                field="image.pixels",
                limit=limit,
                value=f"{width}x{height}",
            )
        if max(width, height) > self._limits.max_side:
            raise InvalidInput(
                "one side is too long",
                field="image.side",
                limit=self._limits.max_side,
                value=f"{width}x{height}",
            )
        self._resize.check(width, height)

    def _to_pixels(self, opened: OpenedImage) -> NDArray[np.uint8]:
        image = opened.image
        if isinstance(image, JpegImagePlugin.JpegImageFile) and self._resize.enough is not None:
            image.draft(None, self._resize.enough)
        image.load()
        image.info.update(opened.notes)
        orientation = _orientation(image)
        pixels = _to_8_bits_a_channel(opened)
        del opened, image  # what was decoded first is not needed beside what was made of it
        picture = self._resize.apply(pixels, orientation)
        if picture.mode == "RGBA":
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return np.asarray(picture.convert("RGB"))

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


def _to_8_bits_a_channel(opened: OpenedImage) -> Image.Image:
    """Convert what was decoded to L, RGB or RGBA: what is resized in fewest bytes."""
    image: Image.Image = opened.image
    if image.mode.startswith("I;16"):
        image = _to_8_bits(opened)
    elif opened.low is not None:
        image = _with_alpha(opened, opened.low)
    mode = image.mode
    if mode in _ALPHA_MODES or (mode in _OPAQUE_MODES and image.has_transparency_data):
        return _converted(image, "RGBA")
    if mode in _OPAQUE_MODES:
        return image if mode == "L" else _converted(image, "RGB")
    raise InvalidInput(
        "pixels of this kind have no agreed black and white",
        field="image.mode",
        limit=READ,
        value=mode,
    )


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """Convert to a mode; Pillow would copy what has it already."""
    return image if image.mode == mode and "transparency" not in image.info else image.convert(mode)


def _orientation(image: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation, 1 to 8; upright where there is none or it is broken."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return 1  # Pillow turns these while it loads them
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a broken side note does not make the picture unusable
        return 1


def _to_8_bits(opened: OpenedImage) -> Image.Image:
    """Turn gray of more bits to 8; Pillow itself would clip at 255."""
    wide = np.asarray(opened.image)
    top = max(opened.black, opened.white)
    gray = np.empty(wide.shape, np.uint8)
    for part in _parts(wide.size):  # the numbers between take several times the memory
        levels = wide.reshape(-1)[part].astype(np.uint32)
        levels = levels if opened.white else top - levels
        gray.reshape(-1)[part] = (levels * 255 + top // 2) // top
    if opened.transparent is None:
        return Image.fromarray(gray)
    alpha = np.where(wide == opened.transparent, np.uint8(0), np.uint8(255))
    return Image.merge("LA", (Image.fromarray(gray), Image.fromarray(alpha)))


def _with_alpha(opened: OpenedImage, low: Image.Image) -> Image.Image:
    """Make the transparent one of 16-bit colours transparent, which none is that is only near."""
    high, below = (np.asarray(image).reshape(-1, 3) for image in (opened.image, low))
    alpha = np.empty(len(high), np.uint8)
    for part in _parts(len(high)):
        wide = high[part].astype(np.uint16) << 8 | below[part]
        alpha[part] = np.where((wide == opened.transparent).all(axis=-1), 0, 255)
    width, height = opened.image.size
    seen = Image.fromarray(alpha.reshape(height, width))
    return Image.merge("RGBA", (*opened.image.split(), seen))


def _parts(length: int) -> Iterator[slice]:
    return (slice(start, start + _PART) for start in range(0, length, _PART))
