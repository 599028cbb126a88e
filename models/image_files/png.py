"""PNG files (PNG specification, third edition, sections 5 and 11)."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import ImageFile, PngImagePlugin

from models.image_files.parts import (
    MAX_PARTS,
    Damaged,
    Header,
    Note,
    OpenedImage,
    Parts,
    Truncated,
    check_parts,
    not_read,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_TURNS = (b"exif\0", b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""Keys of texts that may say how the picture is turned."""
_NOTE_NAMES = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_MAX_NOTES = 32
"""Of these texts in one file; each may take up to 1 MiB while it is unpacked."""
_GREY, _RGB, _PALETTE = 0, 2, 3
_BANDS = {_GREY: 1, _RGB: 3, _PALETTE: 1, 4: 2, 6: 4}
_BLOCK = 1 << 16
_PIXEL_NS = {_GREY: 4.0, _RGB: 12.0, _PALETTE: 6.0, 4: 14.0, 6: 20.0}
_INTERLACED_NS = 5.0
_HEADER_CHUNKS = 4000
_CHUNK_NS, _USUAL_CHUNKS = 5_000, 100
_NOTE_NS, _NOTE_BYTES, _RATIO = 2.5, 1 << 20, 1030
"""Nanoseconds of a byte that a compressed text unpacks to; of these the most, and for a byte."""


class _Chunk(NamedTuple):
    """A chunk in its file.

    Attributes:
        at, end: where its data are; the checksum follows.
    """

    name: bytes
    at: int
    end: int


def split(raw: bytes) -> Parts:
    """Parts the pixels from the ancillary chunks; the transparent values belong to the pixels.

    Raises:
        InvalidInput: a layout that is not read, or too many chunks.
        Damaged, Truncated: something lacks that the pixels need.
    """
    if raw.startswith(b"CgBI", 12):
        raise not_read("PNG as Apple packs it into apps (CgBI)")
    chunks = list(itertools.islice(_chunks(raw), MAX_PARTS + 1))
    check_parts(len(chunks))
    if not chunks or chunks[0].name != b"IHDR":
        raise Damaged("the header is not the first chunk")
    colour = raw[25]
    pixels = [chunk for chunk in chunks if _is_of_pixels(raw, chunk, colour)]
    if sum(chunk.name == b"IHDR" for chunk in pixels) > 1:
        raise Damaged("there are several headers")
    names = {chunk.name for chunk in pixels}
    if colour == _PALETTE and b"PLTE" not in names:
        raise Damaged("there is no palette")
    if b"IDAT" not in names:
        raise Truncated("there are no pixels")
    kept = [raw[chunk.at - 8 : chunk.end + 4] for chunk in pixels]
    return Parts(b"".join([SIGNATURE, *kept]), _notes(raw, chunks))


def header(raw: bytes) -> Header:
    """Reads the header chunk, and counts the others. Raises nearly anything where there is none.

    Raises:
        ValueError: there are so many chunks that counting them takes long itself.
    """
    width, height, bits, colour = struct.unpack_from(">IIBB", raw, 16)
    pixel_ns = _PIXEL_NS[colour] * (2 if bits > 8 else 1)
    chunks = list(itertools.islice(_chunks(raw), _HEADER_CHUNKS + 1))
    if len(chunks) > _HEADER_CHUNKS:
        raise ValueError("there are many chunks")
    texts = [chunk for chunk in chunks if _is_packed_turn(raw, chunk)][:_MAX_NOTES]
    unpacked = sum(min(_NOTE_BYTES, _RATIO * (chunk.end - chunk.at)) for chunk in texts)
    return Header(
        width,
        height,
        pixel_ns + (_INTERLACED_NS if raw[28] else 0.0),
        parts_ns=_CHUNK_NS * max(0, len(chunks) - _USUAL_CHUNKS) + _NOTE_NS * unpacked,
    )


def levels(pixels: bytes, image: ImageFile.ImageFile) -> OpenedImage:
    """Brings a transparent value to the levels that Pillow has made of the samples.

    Raises:
        Damaged: the pixels do not fit their checksums.
    """
    bits, colour = pixels[24], pixels[25]
    _check_data(pixels, _BANDS[colour] * bits * image.width // 8 + 2, image.height)
    value = image.info.get("transparency")
    if value is None or colour == _PALETTE:
        return OpenedImage(image)
    top = (1 << bits) - 1
    if bits == 16:
        del image.info["transparency"]
        low = _low_bytes(pixels) if colour == _RGB else None
        return OpenedImage(image, transparent=value, low=low)
    if colour == _RGB:
        image.info["transparency"] = tuple(level & top for level in value)
    else:
        level = _transparent_bit(pixels) if bits == 1 else value & top
        image.info["transparency"] = level * 255 // top
    return OpenedImage(image)


def _transparent_bit(pixels: bytes) -> int:
    """Returns the lowest bit of the transparent value; Pillow takes any bit of it for a white."""
    at = max(chunk.at for chunk in _chunks(pixels) if chunk.name == b"tRNS")
    return pixels[at + 1] & 1


def _low_bytes(pixels: bytes) -> ImageFile.ImageFile:
    """Opens 16-bit colours once more, as if their bytes came in the other order."""
    image = PngImagePlugin.PngImageFile(io.BytesIO(pixels))
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    return image


def _chunks(raw: bytes) -> Iterator[_Chunk]:
    """Yields the chunks up to the end of the picture, or to where there is no chunk any more."""
    at = len(SIGNATURE)
    while at + 8 <= len(raw):
        length, name = int.from_bytes(raw[at : at + 4], "big"), raw[at + 4 : at + 8]
        if not (name.isascii() and name.isalpha()) or name == b"IEND":
            return
        start, end = at + 8, at + 8 + length
        yield _Chunk(name, start, end)
        at = end + 4


def _is_of_pixels(raw: bytes, chunk: _Chunk, colour: int) -> bool:
    if chunk.name == b"tRNS":
        return colour in (_GREY, _RGB, _PALETTE)
    if chunk.name == b"PLTE":
        return colour == _PALETTE  # elsewhere a suggestion
    if chunk.name[:1].isupper():
        return True
    if not _is_sound(raw, chunk) and _is_sound(raw, chunk, b"tRNS"):
        raise Damaged("the name of the transparent values is damaged")
    return False


def _is_packed_turn(raw: bytes, chunk: _Chunk) -> bool:
    """Says whether a chunk is a compressed text that may say how the picture is turned."""
    return chunk.name in (b"zTXt", b"iTXt") and raw.startswith(_TURNS, chunk.at)


def _is_sound(raw: bytes, chunk: _Chunk, name: bytes | None = None) -> bool:
    """Says whether a chunk fits its checksum, under its own name or another."""
    checksum = raw[chunk.end : chunk.end + 4]
    crc = zlib.crc32(raw[chunk.at : chunk.end], zlib.crc32(name or chunk.name))
    return checksum == crc.to_bytes(4, "big")


def _check_data(pixels: bytes, row: int, rows: int) -> None:
    """Refuses pixels that do not fit their checksums, which Pillow does not look at.

    Where only a chunk's is wrong, and that of the compressed stream is right, so are the pixels.
    A file that ends within them is left to the decoder, which knows whether all of them came.

    Args:
        row: bytes of a row at most; the stream is not followed much beyond all of them.
    """
    data = [chunk for chunk in _chunks(pixels) if chunk.name == b"IDAT"]
    if all(_is_sound(pixels, chunk) or chunk.end + 4 > len(pixels) for chunk in data):
        return
    stream, room = zlib.decompressobj(), 2 * row * rows + _BLOCK
    for rest in _pieces(pixels, data):
        while rest and not stream.eof and room > 0:
            room -= len(stream.decompress(rest, _BLOCK))
            rest = stream.unconsumed_tail
    if not stream.eof:
        raise Damaged("the pixels do not fit their checksum")


def _pieces(pixels: bytes, chunks: Sequence[_Chunk]) -> Iterator[bytes]:
    """Yields the chunks' data, little at once: what is not yet unpacked is copied at every step."""
    for chunk in chunks:
        for at in range(chunk.at, chunk.end, _BLOCK):
            yield pixels[at : min(at + _BLOCK, chunk.end)]


def _notes(raw: bytes, chunks: Sequence[_Chunk]) -> dict[str, Note]:
    """Reads what may say how the picture is turned, as Pillow does; broken notes do not count."""
    file = io.BytesIO(raw)
    stream = PngImagePlugin.PngStream(file)
    turning = [
        chunk
        for chunk in chunks
        if _is_sound(raw, chunk)
        and (
            chunk.name == b"eXIf"
            or (chunk.name in (b"tEXt", b"zTXt", b"iTXt") and raw.startswith(_TURNS, chunk.at))
        )
    ]
    for chunk in turning[:_MAX_NOTES]:
        file.seek(chunk.at)
        try:
            stream.call(chunk.name, chunk.at, chunk.end - chunk.at)
        except Exception:  # noqa: S112 - Pillow raises nearly anything on broken bytes
            continue
    return {name: stream.im_info[name] for name in _NOTE_NAMES if name in stream.im_info}
