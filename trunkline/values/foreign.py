"""Arrays, pictures and tables of other libraries, told by their type: none of them is imported."""

import io
from typing import Any, Protocol

from trunkline.errors import InvalidArgument, InvalidType

_ARRAYS = {"numpy", "torch", "jax", "jaxlib", "tensorflow", "cupy"}
_TABLES = {"pandas", "polars", "pyarrow", "modin", "dask"}
_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
_RGB_MODES = {"CMYK", "YCbCr", "HSV", "RGBX"}
_ALPHA_MODES = {"PA": "RGBA", "RGBa": "RGBA", "La": "LA"}


class ArrayLike(Protocol):
    """An array of numpy, or of a library like it."""

    @property
    def shape(self) -> Any: ...

    @property
    def dtype(self) -> Any: ...


class PictureLike(Protocol):
    """A picture of Pillow."""

    @property
    def mode(self) -> str: ...

    def getexif(self) -> Any: ...


def is_array(value: Any) -> bool:
    """Returns whether it is an array with a shape, of numpy or a library like it."""
    return _library(value) in _ARRAYS and hasattr(value, "shape")


def is_picture(value: Any) -> bool:
    """Returns whether it is a picture of Pillow."""
    return _library(value) == "PIL" and hasattr(value, "mode")


def is_table(value: Any) -> bool:
    """Returns whether it is a table of several columns, of pandas or a library like it."""
    return _library(value) in _TABLES and hasattr(type(value), "columns")


def shape_of(array: Any) -> list[int]:
    """Returns an array's shape."""
    return [int(length) for length in array.shape]


def dtype_of(array: Any) -> str:
    """Returns the name of an array's dtype, e.g. "uint8"."""
    return str(array.dtype).rpartition(".")[2]


def type_of(value: Any) -> str:
    """Returns what a value is, with its article, for an error's words."""
    if value is None:
        return "None"
    if is_array(value) and shape_of(value):
        return f"an array of {dtype_of(value)} {shape_of(value)}"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def wrong_type(given: Any, field: str, wanted: str, fix: str | None = None) -> InvalidType:
    """Returns the error of a value of another type; `fix` says what to give instead of it."""
    return InvalidType(
        f"{field} must be {wanted}, is {type_of(given)}" + (f"; {fix}" if fix else ""),
        field=field,
        limit=wanted,
        value=type(given).__name__,
    )


def upright(picture: Any) -> Any:
    """Returns a picture of Pillow as its EXIF orientation has it, in a mode that a PNG has.

    Raises `InvalidType` for modes whose values a PNG cannot hold, `InvalidArgument` for a picture
    that was closed, `OSError` for a file that Pillow finds to be damaged.
    """
    from PIL import ImageOps

    try:
        turned = ImageOps.exif_transpose(picture)
    except ValueError as error:  # Pillow's own, of one whose file is closed, too
        raise InvalidArgument(f"the picture cannot be read: {error}", field="input") from error
    if turned.mode in _PNG_MODES:
        return turned
    wanted = "RGB" if turned.mode in _RGB_MODES else _ALPHA_MODES.get(turned.mode)
    if wanted is None:
        raise InvalidType(
            f"a picture of mode {turned.mode} has values that cannot be sent: scale them to 0 to "
            "255, and convert it to L or RGB",
            field="input",
            limit=", ".join(sorted(_PNG_MODES | _RGB_MODES | _ALPHA_MODES.keys())),
            value=turned.mode,
        )
    return turned.convert(wanted)


def is_plain_rgb(picture: Any) -> bool:
    """Returns whether a picture's pixels are all there is to it."""
    return picture.mode == "RGB" and "transparency" not in picture.info


def png(picture: Any) -> bytes:
    """Returns the picture as a PNG, which loses nothing."""
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _library(value: Any) -> str:
    """Returns the library that a value's type, or one that it derives from, comes from."""
    known = _ARRAYS | _TABLES | {"PIL"}
    names = (kind.__module__.partition(".")[0] for kind in type(value).__mro__)
    return next((name for name in names if name in known), "")
