"""Picture files of every format and kind of pixels, made here, byte for byte the same each time."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 96, 64
PNG = b"\x89PNG\r\n\x1a\n"


def grey(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """A grey picture (height, width) with slopes, edges, and levels from 3 to 252."""
    y, x = np.mgrid[0:height, 0:width]
    waves = 128 + 90 * np.sin(x / 7) * np.cos(y / 11) + 34 * ((x // 8 + y // 8) % 2)
    return np.asarray(waves.clip(3, 252), np.uint8)


def rgb(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """A colour picture (height, width, 3)."""
    level = grey(width, height)
    return np.dstack([level, np.roll(level, 13, 0), np.roll(level, 9, 1)])


def rgba(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """The colour picture, fading out to the right: (height, width, 4)."""
    alpha = np.broadcast_to(np.linspace(255, 0, width).astype(np.uint8), (height, width))
    return np.dstack([rgb(width, height), alpha])


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The picture as a file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunk(raw: bytes, extra: bytes, before: bytes = b"IDAT") -> bytes:
    """A PNG file with bytes put before the first chunk of that name."""
    at = raw.index(before) - 4
    return raw[:at] + extra + raw[at:]


def packed(values: NDArray[Any], bits: int, order: str = ">") -> bytes:
    """Rows (height, samples) of that many bits a sample, each filled up to whole bytes."""
    if bits in (16, 32):
        return values.astype(f"{order}u{bits // 8}").tobytes()
    wide = np.unpackbits(values.astype(">u2")[..., None].view(np.uint8), axis=-1)
    return np.packbits(wide[..., 16 - bits :].reshape(len(values), -1), axis=1).tobytes()


def png(
    values: NDArray[Any], bits: int, colour: int, *chunks: bytes, compression: int = 6
) -> bytes:
    """A PNG file of samples (height, width) or (height, width, n) as they are.

    Args:
        colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
        chunks: that come before the pixels.
    """
    height, width = values.shape[:2]
    rows = packed(values.reshape(height, -1), bits)
    stride = len(rows) // height
    filtered = b"".join(b"\0" + rows[at : at + stride] for at in range(0, len(rows), stride))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(filtered, compression)
    return b"".join(
        [PNG, chunk(b"IHDR", header), *chunks, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    )


def tiff(
    strips: bytes | Sequence[bytes],
    size: tuple[int, int],
    bits: int,
    photometric: int,
    samples: int = 1,
    *,
    order: str = "<",
    kind: int = 1,
    compression: int = 1,
    planar: int = 1,
    more: Sequence[tuple[int, int, Sequence[int]]] = (),
) -> bytes:
    """A TIFF file of one strip, or of one for each plane.

    Args:
        kind: sample format: 1 unsigned, 2 signed, 3 floating point.
        order: "<" or ">".
        more: tags besides: number, type (1 byte, 3 short, 4 long), values.
    """
    strips = [strips] if isinstance(strips, bytes) else strips
    width, height = size
    tags: list[tuple[int, int, Sequence[int]]] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * samples),
        (259, 3, [compression]),
        (262, 3, [photometric]),
        (273, 4, [0] * len(strips)),
        (277, 3, [samples]),
        (278, 4, [height]),
        (279, 4, [len(strip) for strip in strips]),
        (284, 3, [planar]),
        (339, 3, [kind] * samples),
        *more,
    ]
    tags.sort()
    codes = {1: "B", 3: "H", 4: "I"}
    sizes = [struct.calcsize("=" + codes[form]) * len(values) for _, form, values in tags]
    start = 8 + 2 + 12 * len(tags) + 4
    data_at = start + sum(length for length in sizes if length > 4)
    entries, extra = b"", b""
    for (tag, form, values), length in zip(tags, sizes, strict=True):
        if tag == 273:
            before = np.cumsum([0, *map(len, strips)])[:-1]
            values = [data_at + int(offset) for offset in before]
        body = struct.pack(order + codes[form] * len(values), *values)
        assert len(body) == length
        entries += struct.pack(f"{order}HHI", tag, form, len(values))
        if length <= 4:
            entries += body.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", start + len(extra))
            extra += body
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4)
    return head + extra + b"".join(strips)


def tiff_of_strips(
    width: int,
    height: int,
    strips: NDArray[Any],
    nbytes: NDArray[Any] | None = None,
    data: bytes = bytes(64),
    tags: Mapping[int, NDArray[Any]] = MappingProxyType({}),
) -> bytes:
    """A gray TIFF file of one row a strip, whose data begin at 8.

    Args:
        strips, nbytes, tags: values; their dtypes say of which type they are in the file.
    """
    nbytes = np.full(height, width, np.uint16) if nbytes is None else nbytes
    words = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
    values = {tag: np.array([word], np.uint16) for tag, word in words.items()}
    values |= {273: strips, 279: nbytes, **tags}
    forms = {np.dtype(np.uint16): 3, np.dtype(np.uint32): 4, np.dtype(np.uint64): 16}
    entries = b""
    for tag in sorted(values):
        packed, count = values[tag].tobytes(), len(values[tag])
        entries += struct.pack("<HHI", tag, forms[values[tag].dtype], count)
        if len(packed) > 4:
            entries += struct.pack("<I", 8 + len(data))
            data += packed
        else:
            entries += packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    return head + struct.pack("<H", len(values)) + entries + bytes(4)


def sound() -> Iterator[tuple[str, bytes]]:
    """Names and files of pictures that were always read rightly."""
    colour, level, clear = map(Image.fromarray, (rgb(), grey(), rgba()))
    palette = colour.quantize(60, dither=Image.Dither.NONE)
    big = Image.fromarray(rgb(700, 500))
    for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        yield f"rgb.{form}", encoded(colour, form)
        yield f"big.{form}", encoded(big, form)
        yield f"grey.{form}", encoded(level, form)
    for form in ("PNG", "GIF", "BMP", "TIFF"):
        yield f"palette.{form}", encoded(palette, form)
        yield f"two-levels.{form}", encoded(level.convert("1"), form)
    for form in ("PNG", "WEBP", "GIF", "BMP", "TIFF"):
        yield f"rgba.{form}", encoded(clear, form)
    for form in ("PNG", "TIFF"):
        yield f"grey-alpha.{form}", encoded(clear.convert("LA"), form)
    for form in ("JPEG", "TIFF"):
        yield f"cmyk.{form}", encoded(colour.convert("CMYK"), form)
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            yield f"turned-{orientation}.{form}", encoded(colour, form, exif=exif)
    yield from _jpegs(colour, big)
    yield from _pngs(colour, level, palette)
    yield from _tiffs(colour, level)
    yield "lossless.WEBP", encoded(clear, "WEBP", lossless=True)
    yield "exact.WEBP", encoded(clear, "WEBP", lossless=True, exact=True)
    yield "poor.WEBP", encoded(clear, "WEBP", quality=5)
    frames = [colour, colour.transpose(Image.Transpose.ROTATE_180)]
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        yield (
            f"frames.{form}",
            encoded(frames[0], form, save_all=True, append_images=frames[1:]),
        )
    yield (
        "default-image.PNG",
        encoded(frames[0], "PNG", save_all=True, append_images=frames, default_image=True),
    )
    yield "clear-palette.GIF", encoded(palette, "GIF", transparency=3)
    yield "interlaced.GIF", encoded(palette, "GIF", interlace=True)


def _jpegs(colour: Image.Image, big: Image.Image) -> Iterator[tuple[str, bytes]]:
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        yield (
            f"{subsampling}.JPEG",
            encoded(colour, "JPEG", subsampling=subsampling, quality=90),
        )
    yield "progressive.JPEG", encoded(big, "JPEG", progressive=True)
    yield "restarts.JPEG", encoded(colour, "JPEG", restart_marker_blocks=3)
    yield "not-ycbcr.JPEG", encoded(colour, "JPEG", keep_rgb=True)
    profile = b"profile" * 9
    yield (
        "notes.JPEG",
        encoded(colour, "JPEG", comment=b"a comment", icc_profile=profile, dpi=(72, 72)),
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "big-turned.JPEG", encoded(big, "JPEG", exif=exif)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    yield "turned-by-xmp.JPEG", encoded(colour, "JPEG", xmp=xmp)


def _pngs(
    colour: Image.Image, level: Image.Image, palette: Image.Image
) -> Iterator[tuple[str, bytes]]:
    values = grey()
    yield "16-bit-grey.PNG", png(values.astype(np.uint16) * 257 - 5, 16, 0)
    yield "16-bit-rgb.PNG", png(rgb().astype(np.uint16) * 257 - 5, 16, 2)
    yield "16-bit-rgba.PNG", png(rgba().astype(np.uint16) * 257, 16, 6)
    yield "16-bit-grey-alpha.PNG", png(rgba()[..., 2:].astype(np.uint16) * 257, 16, 4)
    for bits in (1, 2, 4):
        yield f"{bits}-bit-grey.PNG", png(values >> (8 - bits), bits, 0)
        table = chunk(b"PLTE", bytes(range(7, 7 + 3 * 2**bits)))
        yield f"{bits}-bit-palette.PNG", png(values >> (8 - bits), bits, 3, table)
    yield "clear-rgb.PNG", encoded(colour, "PNG", transparency=tuple(rgb()[9, 9].tolist()))
    yield "clear-grey.PNG", encoded(level, "PNG", transparency=int(values[9, 9]))
    yield "clear-palette.PNG", encoded(palette, "PNG", transparency=3)
    yield "palette-alpha.PNG", encoded(palette, "PNG", transparency=bytes(range(0, 240, 4)))
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes()
    late = chunk(b"eXIf", body.removeprefix(b"Exif\0\0"))
    plain = encoded(colour, "PNG")
    yield "turned-by-late-exif.PNG", with_chunk(plain, late, before=b"IEND")
    profile = f"\nexif\n{len(body):8}\n{body.hex()}\n".encode()
    text = b"Raw profile type exif\0\0" + zlib.compress(profile)
    yield "turned-by-text.PNG", with_chunk(plain, chunk(b"zTXt", text))
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<rdf:Description tiff:Orientation="8"/>'
    yield "turned-by-xmp.PNG", with_chunk(plain, chunk(b"iTXt", xmp))


def _tiffs(colour: Image.Image, level: Image.Image) -> Iterator[tuple[str, bytes]]:
    size, values = (WIDTH, HEIGHT), grey()
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"{compression}.TIFF", encoded(colour, "TIFF", compression=compression)
        if compression != "jpeg":
            yield f"{compression}-grey.TIFF", encoded(level, "TIFF", compression=compression)
    yield "fax.TIFF", encoded(level.convert("1"), "TIFF", compression="group4")
    yield "ycbcr.TIFF", encoded(colour.convert("YCbCr"), "TIFF")
    for order in "<>":
        wide = values.astype(np.uint16) * 257 - 5
        yield f"16-bit{order}.TIFF", tiff(packed(wide, 16, order), size, 16, 1, order=order)
        rows = packed((rgb().astype(np.uint16) * 257).reshape(HEIGHT, -1), 16, order)
        yield f"16-bit-rgb{order}.TIFF", tiff(rows, size, 16, 2, 3, order=order)
        for bits in (1, 2, 4, 8):
            for white_is_zero in (0, 1):
                shown = values >> (8 - bits)
                stored = shown if white_is_zero else (1 << bits) - 1 - shown
                yield (
                    f"{bits}-bit-{white_is_zero}{order}.TIFF",
                    tiff(packed(stored, bits), size, bits, white_is_zero, order=order),
                )
    planes = [np.ascontiguousarray(rgb()[..., band]).tobytes() for band in range(3)]
    yield "planes.TIFF", tiff(planes, size, 8, 2, 3, planar=2)
