"""The things one can embed, classify or learn from.

Wherever the client takes an input it also takes a plain `str` (a text), a `Path` (an image file),
`bytes` (an encoded image), a picture of Pillow, an array of uint8 [height, width, 3] (pixels), or
an `Embedding` (which it gave out earlier).

A picture of Pillow is turned as its EXIF orientation says. In RGB it goes as pixels, in another
mode as a PNG: nothing is lost, but a JPEG's file is smaller, and the server decodes it otherwise.
"""

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Self

from trunkline import digest as digests
from trunkline.errors import InvalidArgument, InvalidType
from trunkline.v1 import common_pb2
from trunkline.values.foreign import (
    ArrayLike,
    PictureLike,
    dtype_of,
    is_array,
    is_picture,
    is_plain_rgb,
    png,
    shape_of,
    upright,
)
from trunkline.values.outcomes import Embedding
from trunkline.values.unreadable import Unreadable
from trunkline.wire.building import build
from trunkline.wire.tensors import block, pack_float32


@dataclass(frozen=True)
class Image:
    """An encoded image (JPEG, PNG, WebP, GIF, BMP or TIFF) in memory, or a file of one."""

    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.path is None):
            raise InvalidArgument("an image needs either data or a path", field="input")

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Makes an image of a file, which is read when it is sent, so that many cost no memory."""
        return cls(path=Path(path))

    def load(self) -> "Image":
        """Loads the image into memory. Raises `OSError` if the file cannot be read."""
        return Image(self.path.read_bytes()) if self.path else self

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return len(self.data or b"")

    def digest(self) -> str:
        """Returns the digest of the encoded bytes."""
        return digests.image_digest(self._bytes())

    def message(self) -> common_pb2.Input:
        """Returns the input as it goes over the wire."""
        return common_pb2.Input(image=self._bytes())

    def _bytes(self) -> bytes:
        data = self.load().data
        assert data is not None
        return data


class _InMemory:
    """What is in memory as soon as it is made."""

    def load(self) -> Self:
        """Returns itself: it is in memory."""
        return self


@dataclass(frozen=True)
class Text(_InMemory):
    """A text, or its UTF-8 bytes as they were found: the server then checks them.

    `where` is file and line of one that was read from a table; `path` is the file that holds it
    alone.
    """

    text: str | bytes
    where: str | None = field(default=None, repr=False, compare=False)
    path: Path | None = field(default=None, repr=False, compare=False)

    @property
    def nbytes(self) -> int:
        """Bytes as UTF-8."""
        return len(self._utf8())

    def digest(self) -> str:
        """Returns the digest of the UTF-8 bytes."""
        return digests.text_digest(self._utf8())

    def message(self) -> common_pb2.Input:
        """Returns the input as it goes over the wire."""
        if isinstance(self.text, bytes):
            return common_pb2.Input(text_utf8=self.text)
        self._utf8()
        return common_pb2.Input(text=self.text)

    def _utf8(self) -> bytes:
        if isinstance(self.text, bytes):
            return self.text
        try:
            return self.text.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(
                f"text must be Unicode text, character {error.start + 1} is not: half of a "
                "surrogate pair",
                field="input",
                limit="Unicode text",
                value=ascii(self.text)[:100],
            ) from error


@dataclass(frozen=True, init=False)
class Pixels(_InMemory):
    """A decoded RGB image: uint8, shape [height, width, 3], e.g. a numpy array or a PIL image."""

    shape: tuple[int, ...]
    data: bytes = field(repr=False)

    def __init__(self, pixels: Any) -> None:
        values = block(pixels)
        if values.type != "B" or len(values.shape) != 3 or values.shape[2] != 3:
            raise InvalidArgument(
                f"pixels must be uint8 of shape [height, width, 3], got {list(values.shape)}",
                field="input",
                limit="uint8 [height, width, 3]",
                value=str(list(values.shape)),
            )
        object.__setattr__(self, "shape", values.shape)
        object.__setattr__(self, "data", values.data)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed pixels."""
        return len(self.data)

    def digest(self) -> str:
        """Returns the digest of shape and pixels."""
        return digests.pixels_digest(self.shape, self.data)

    def message(self) -> common_pb2.Input:
        """Returns the input as it goes over the wire."""
        tensor = common_pb2.Tensor(dtype="uint8", shape=self.shape, data=self.data)
        return common_pb2.Input(pixels=tensor)


@dataclass(frozen=True, init=False)
class Vector(_InMemory):
    """An embedding made by the backbone with this fingerprint: floats, shape [dim]."""

    fingerprint: str
    data: bytes = field(repr=False)

    def __init__(self, fingerprint: str, vector: Any) -> None:
        values = block(vector)
        if len(values.shape) != 1:
            raise InvalidArgument(
                f"a vector must have one dimension, got shape {list(values.shape)}",
                field="input",
                limit="[dim]",
                value=str(list(values.shape)),
            )
        build(common_pb2.Embedding, fingerprint=fingerprint)  # checks that it is a text
        object.__setattr__(self, "fingerprint", fingerprint)
        object.__setattr__(self, "data", pack_float32(values))

    @property
    def nbytes(self) -> int:
        """Bytes of the packed float32."""
        return len(self.data)

    def digest(self) -> str:
        """Returns the digest of fingerprint and vector."""
        return digests.embedding_digest(self.fingerprint, self.data)

    def message(self) -> common_pb2.Input:
        """Returns the input as it goes over the wire."""
        tensor = common_pb2.Tensor(dtype="float32", shape=[len(self.data) // 4], data=self.data)
        return common_pb2.Input(
            embedding=common_pb2.Embedding(fingerprint=self.fingerprint, vector=tensor)
        )


@dataclass(frozen=True)
class Digest(_InMemory):
    """The digest of an input this tenant sent before: 64 hexadecimal digits, kept in lower case."""

    hex: str

    def __post_init__(self) -> None:
        if not isinstance(self.hex, str) or not digests.is_digest(self.hex):
            raise InvalidArgument(
                "a digest has 64 hexadecimal digits",
                field="digest",
                limit="[0-9a-fA-F]{64}",
                value=str(self.hex)[:100],
            )
        object.__setattr__(self, "hex", self.hex.lower())

    @property
    def nbytes(self) -> int:
        """Zero: nothing of the input is sent."""
        return 0

    def digest(self) -> str:
        """Returns the digest itself."""
        return self.hex

    def message(self) -> common_pb2.Input:
        """Returns the input as it goes over the wire."""
        return common_pb2.Input(digest=self.hex)


Input = Image | Text | Pixels | Vector | Digest | Unreadable
InputLike = (
    Input
    | Embedding
    | str
    | bytes
    | bytearray
    | memoryview
    | PathLike[str]
    | ArrayLike
    | PictureLike
)


def as_input(value: Any) -> Input:
    """Returns the input that `value` stands for.

    Raises `InvalidType` for anything else, `OSError` for a picture that cannot be read.
    """
    match value:
        case Image() | Text() | Pixels() | Vector() | Digest() | Unreadable():
            return value
        case str():
            return Text(value)
        case bytes():
            return Image(value)
        case bytearray() | memoryview():
            return Image(bytes(value))
        case PathLike():
            return Image(path=Path(value))
        case Embedding():
            return Vector(value.fingerprint, value.vector)
    if is_picture(value):
        picture = upright(value)
        return Pixels(picture) if is_plain_rgb(picture) else Image(png(picture))
    if is_array(value):
        return _pixels_of(value)
    missing = " (a missing value?)" if value is None or isinstance(value, float) else ""
    raise InvalidType(
        f"not an input: {type(value).__name__}{missing}",
        field="input",
        limit="a str, bytes, a path, a picture, an array of pixels, or an input of trunkline",
        value=type(value).__name__,
    )


def _pixels_of(array: Any) -> Pixels:
    shape, dtype = shape_of(array), dtype_of(array)
    if dtype == "uint8" and len(shape) == 3 and shape[2] == 3:
        return Pixels(array)
    if len(shape) == 1 and "float" in dtype:
        hint = "an embedding needs its fingerprint: Vector(fingerprint, array)"
    else:
        hint = "pixels are uint8 of shape [height, width, 3]"
    raise InvalidType(
        f"not an input: an array of {dtype} {shape}; {hint}",
        field="input",
        limit="uint8 [height, width, 3]",
        value=f"{dtype} {shape}",
    )


def reads_file(value: InputLike) -> bool:
    """Returns whether sending `value` reads a file."""
    return isinstance(value, PathLike) or (isinstance(value, Image) and value.path is not None)
