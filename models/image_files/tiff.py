"""TIFF files (TIFF 6.0; tags by their numbers there)."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from PIL import ImageFile, ImagePalette, TiffImagePlugin

from models.errors import InvalidInput
from models.image_files.parts import (
    Damaged,
    Header,
    OpenedImage,
    Parts,
    check_parts,
    not_read,
)

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_STRIPS, _SAMPLES, _ORIENTATION, _PLANAR, _TILES, _FORMAT, _SUBSAMPLING = (
    273,
    277,
    274,
    284,
    324,
    339,
    530,
)
_FILL_ORDER, _STRIP_BYTES, _TILE_BYTES = 266, 279, 325
_COLOURS, _EXTRAS, _XMP = 320, 338, 700
_PIXELS = frozenset(
    {_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _SAMPLES, _PLANAR, _TILES}
    | {_FORMAT, _SUBSAMPLING, _FILL_ORDER, _COLOURS, _EXTRAS}
    | {_STRIP_BYTES, _TILE_BYTES, 278, 292, 293, 317, 322, 323, 332, 347}
    | {*range(512, 522), 529, 531, 532}
)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of a value of each type; up to four stand in the entry itself."""
_INLINE = 4
_PIXEL_NS, _SAMPLE_NS = 12.0, 2.0
_PART_NS, _UNCOMPRESSED_PART_NS = 2_000, 8_000
"""Nanoseconds of a strip or tile. Pillow goes through those that are not compressed in Python."""
_RATIONALS, _RATIONAL_NS, _VALUE_NS = (5, 10), 5_000, 400
"""Types of fractions; nanoseconds of a value that says how the pixels are packed."""
MAX_STRIPS = 4 * 65_536
"""Strips or tiles of a picture: each row of the longest side and of four planes in its own. Nothing
else that the pixels need has as many values."""
_LEAST_READ = 1 << 14
_SMALL_TILE = 4096 * 4096
_WEBP = 50001
_HEADER_ENTRIES = 1000
_SHORT, _LONG, _LONG8, _BYTES = 3, 4, 16, (1, 7)
_NUMBERS = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}
_WHITE_IS_ZERO, _UNCOMPRESSED, _SEPARATE, _UNSIGNED, _PREMULTIPLIED = 0, 1, 2, 1, 1


class TiffFile(TiffImagePlugin.TiffImageFile):
    """Reads strips that lie on top of one another in time that grows with their bytes.

    Pillow reads a strip in pieces as long as it is to where the next one begins, maybe a byte, and
    copies at each what is not yet a row.
    """

    def load_read(self, read_bytes: int) -> bytes:
        assert self.fp is not None
        return self.fp.read(max(read_bytes, _LEAST_READ))


def split(raw: bytes) -> Parts:
    """Leaves in the directory of the first picture what its pixels need, in place.

    The file keeps its length: a byte more would fill up pixels that are cut off.

    Raises:
        Damaged: what the directory names is many times the file, or what no picture needs.
        InvalidInput: too many strips or tiles.
    """
    order = "<" if raw[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", raw, 4)
    (count,) = struct.unpack_from(f"{order}H", raw, at)
    end = at + 2 + 12 * count
    entries = [raw[start : start + 12] for start in range(at + 2, min(end, len(raw) - 11), 12)]
    _check_counts(order, entries, len(raw))
    _check_turned(raw, order, entries)
    if end + 4 > len(raw):
        # Cut off: the decoders know what they can do without.
        _check_values(_places(order, entries), len(raw))
        return Parts(raw)
    kept = [entry for entry in entries if _is_needed(*struct.unpack_from(f"{order}HHI", entry))]
    places = _places(order, kept)
    if any(place.start < end and at < place.stop for place in places if place):
        # Damaged: the values would be others once the directory is written anew.
        _check_values(_places(order, entries), len(raw))
        return Parts(raw)
    _check_values(places, len(raw))
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return Parts(raw[:at] + directory + raw[at + len(directory) :])


def header(raw: bytes) -> Header:
    """Reads size and depth from the first directory. Raises nearly anything where it has none."""
    order = "<" if raw[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", raw, 4)
    (count,) = struct.unpack_from(f"{order}H", raw, at)
    if count > _HEADER_ENTRIES:
        raise ValueError("the directory is long")
    found: dict[int, int] = {}
    parts, values_ns = 0, 0
    for start in range(at + 2, at + 2 + 12 * count, 12):
        tag, form, values = struct.unpack_from(f"{order}HHI", raw, start)
        if tag in (_STRIPS, _TILES):
            parts = max(parts, values)
        elif tag in _PIXELS - {_STRIP_BYTES, _TILE_BYTES}:
            values_ns += values * (_RATIONAL_NS if form in _RATIONALS else _VALUE_NS)
        if tag in (_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH, _SAMPLES, _COMPRESSION):
            if form not in (_SHORT, _LONG) or values != 1:
                raise ValueError("a size is of another type")
            if tag in found:
                raise ValueError("a size is told twice")
            (found[tag],) = struct.unpack_from(order + _NUMBERS[form], raw, start + 8)
    compressed = found.get(_COMPRESSION, _UNCOMPRESSED) != _UNCOMPRESSED
    return Header(
        max(found[_WIDTH], found.get(_TILE_WIDTH, 0)),
        max(found[_LENGTH], found.get(_TILE_LENGTH, 0)),
        _PIXEL_NS + _SAMPLE_NS * found.get(_SAMPLES, 1),
        parts_ns=parts * (_PART_NS if compressed else _UNCOMPRESSED_PART_NS) + values_ns,
    )


def tile_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Returns width and height of a tile, which is unpacked whole however little of it is shown.

    Where it is small whatever the limits are, or there are none, (1, 1).
    """
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    width, height = image.tag_v2.get(_TILE_WIDTH, 1), image.tag_v2.get(_TILE_LENGTH, 1)
    return (width, height) if width * height > _SMALL_TILE else (1, 1)


def levels(_pixels: bytes, image: ImageFile.ImageFile) -> OpenedImage:
    """Says what black and white are, and refuses what Pillow would take for something else."""
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    bits = _bits(tags)
    signed = image.mode not in ("I", "F") and set(tags.get(_FORMAT, (_UNSIGNED,))) != {_UNSIGNED}
    packed_otherwise = tags.get(_COMPRESSION) == _WEBP  # Pillow's libtiff comes without it
    if signed or packed_otherwise or not (_planes_are_read(image) and _chroma_is_read(image)):
        raise not_read(_described(tags))
    if image.mode in ("P", "PA") and max(tags[_COLOURS]) < 256:
        # Written with 8 bits a level in place of 16; libtiff takes it like that, too.
        image.palette = ImagePalette.raw("RGB;L", tuple(tags[_COLOURS]))
    black, white = 0, (1 << min(max(bits), 16)) - 1
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        black, white = white, black
    return OpenedImage(image, black=black, white=white)


def refusal(pixels: bytes, error: Exception) -> InvalidInput | None:
    """Tells a layout that Pillow does not read from a directory that lacks something."""
    if not isinstance(error, SyntaxError):
        return None
    tags = TiffImagePlugin.ImageFileDirectory_v2(pixels[:8])
    file = io.BytesIO(pixels)
    file.seek(tags.next)
    tags.load(file)
    whole = {_WIDTH, _LENGTH} <= set(tags) and (_STRIPS in tags or _TILES in tags)
    return not_read(_described(tags)) if whole else None


def _planes_are_read(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Says whether Pillow reads each channel where it lies, if they lie apart."""
    tags, mode = image.tag_v2, image.mode
    if tags.get(_PLANAR) != _SEPARATE:
        return True
    if tags.get(_COMPRESSION, _UNCOMPRESSED) != _UNCOMPRESSED:
        return mode not in ("LA", "PA") and (mode != "RGBA" or _EXTRAS in tags)
    if tags.get(_FILL_ORDER, 1) != 1:
        return False
    if mode in ("1", "L", "P"):  # a single channel
        whole = mode == "1" or set(_bits(tags)) == {8}
        return whole and tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO) != _WHITE_IS_ZERO
    known = mode in ("RGB", "CMYK") or (mode == "RGBA" and tags.get(_EXTRAS) != (_PREMULTIPLIED,))
    return known and set(_bits(tags)) == {8}


def _chroma_is_read(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Says whether colours have as many pixels as brightness, where libtiff does not decode."""
    tags = image.tag_v2
    uncompressed = tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED
    return not uncompressed or image.mode != "YCbCr" or tags.get(_SUBSAMPLING, (1, 1)) == (1, 1)


def _bits(tags: TiffImagePlugin.ImageFileDirectory_v2) -> tuple[int, ...]:
    """Returns the bits of each sample; Pillow ignores numbers beyond them."""
    return tuple(tags.get(_BITS, (1,))[: tags.get(_SAMPLES, 1)])


def _is_needed(tag: int, form: int, count: int) -> bool:
    """Says whether an entry is one of the pixels', or says how they are turned."""
    if tag == _ORIENTATION:
        return form == _SHORT and count == 1
    return tag in _PIXELS or (tag == _XMP and form in _BYTES and count > 1)


def _values_at(form: int, count: int, where: int) -> range:
    """Returns where in the file an entry's values are; empty where they stand in the entry."""
    length = _SIZES.get(form, 0) * count
    return range(where, where + length if length > _INLINE else where)


def _places(order: str, entries: Sequence[bytes]) -> list[range]:
    return [_values_at(*struct.unpack_from(f"{order}2xHII", entry)) for entry in entries]


def _check_counts(order: str, entries: Sequence[bytes], length: int) -> None:
    """Refuses entries of more values than a picture needs, where they are in the file."""
    for entry in entries:
        tag, form, count, where = struct.unpack_from(f"{order}HHII", entry)
        if _values_at(form, count, where).stop > length:
            continue  # Pillow passes over it
        if tag in (_STRIPS, _TILES):
            check_parts(count, MAX_STRIPS)
        elif tag in _PIXELS and count > MAX_STRIPS:
            raise Damaged("an entry of the directory has too many values")


def _check_turned(raw: bytes, order: str, entries: Sequence[bytes]) -> None:
    """Refuses bytes that would be turned round many times, strip by strip.

    Where the fill order is not the usual one, libtiff turns round as many bytes of each strip as it
    is said to have, whatever its pixels need.
    """
    turned, nbytes = False, 0
    for entry in entries:
        tag, form, count, where = struct.unpack_from(f"{order}HHII", entry)
        if tag == _FILL_ORDER:
            turned |= struct.unpack_from(f"{order}H", entry, 8) != (1,)
        elif tag in (_STRIP_BYTES, _TILE_BYTES) and form in _NUMBERS:
            within = _SIZES[form] * count <= _INLINE
            values = entry[8:] if within else raw[where : where + _SIZES[form] * count]
            numbers = f"{order}{len(values) // _SIZES[form]}{_NUMBERS[form]}"
            nbytes += sum(min(n, len(raw)) for n in struct.unpack_from(numbers, values))
    if turned and nbytes > 2 * len(raw):
        raise Damaged("the strips have many times the bytes that there are")


def _check_values(places: Sequence[range], length: int) -> None:
    """Refuses a directory whose values lie on top of one another: each is read by itself."""
    nbytes = sum(len(range(place.start, min(place.stop, length))) for place in places)
    if nbytes > 2 * length:
        raise Damaged("the directory names more than there is")


def _described(tags: TiffImagePlugin.ImageFileDirectory_v2) -> str:
    names = {
        "compression": _COMPRESSION,
        "photometric": _PHOTOMETRIC,
        "bits": _BITS,
        "sample format": _FORMAT,
        "planar": _PLANAR,
    }
    said = (f"{name} {_plain(tags[tag])}" for name, tag in names.items() if tag in tags)
    return "TIFF, " + ", ".join(said)


def _plain(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)
