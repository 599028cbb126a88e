"""Files that take much more work than their bytes: bounded from the header, or refused."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models import InputLimits, InvalidInput, decode_cost
from models.image_files.exif import MAX_ENTRIES
from models.image_files.jpeg import MAX_SCANS
from models.image_files.parts import MAX_PARTS
from models.image_files.tiff import MAX_STRIPS, TiffFile
from models.images import ImagePreprocessor
from tests.models import image_samples as samples
from tests.models.image_samples import chunk, encoded, with_chunk

SOUND = dict(samples.sound())
SLOW = 200_000_000
preprocessor = ImagePreprocessor(32, InputLimits())


def refused(raw: bytes, using: ImagePreprocessor = preprocessor) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        using.prepare(raw)
    return caught.value


# Sides.


@pytest.mark.parametrize("size", [(24, 1), (1, 24)], ids=["wide", "tall"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_side_up_to_the_limit_is_read_and_one_pixel_more_is_refused(
    form: str, size: tuple[int, int]
) -> None:
    raw = encoded(Image.new("RGB", size), form)
    for limit in (24, 25):
        assert ImagePreprocessor(8, InputLimits(max_side=limit)).prepare(raw).cost
    error = refused(raw, ImagePreprocessor(8, InputLimits(max_side=23)))
    assert (error.field, error.limit, error.value) == ("image.side", 23, f"{size[0]}x{size[1]}")


def test_side_of_a_tensor_has_the_same_limit() -> None:
    using = ImagePreprocessor(8, InputLimits(max_side=23))
    assert using.prepare(np.zeros((23, 2, 3), np.uint8)).cost
    for shape in ((24, 2, 3), (2, 24, 3)):
        with pytest.raises(InvalidInput) as caught:
            using.prepare(np.zeros(shape, np.uint8))
        assert caught.value.field == "image.side"


def test_frame_of_a_gif_that_is_longer_than_its_screen_is_refused() -> None:
    raw = bytearray(encoded(Image.new("P", (24, 2)), "GIF"))
    raw[6:8] = struct.pack("<H", 1)
    assert refused(bytes(raw), ImagePreprocessor(8, InputLimits(max_side=23))).field == "image.side"


def test_tile_that_is_larger_than_the_limit_is_refused_however_small_the_picture() -> None:
    error = refused(tile_of(65_535))
    assert (error.field, error.value) == ("image.pixels", "65535x65535")


def tile_of(side: int) -> bytes:
    """A TIFF picture of 16x16 pixels in a tile of `side` x `side`."""
    strips = zlib.compress(bytes(16 * 16 * 3))
    words = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 200}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in words.items()]
    entries.append(struct.pack("<HHII", 325, 4, 1, len(strips)))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(200, b"\0") + strips


# Strips.


@pytest.mark.parametrize("compression", [1, 8], ids=["uncompressed", "deflate"])
def test_tiff_of_more_strips_than_any_picture_has_is_refused(compression: int) -> None:
    strips, tags = np.full(MAX_STRIPS + 1, 8, np.uint16), {259: np.array([compression], np.uint16)}
    error = refused(samples.tiff_of_strips(8, 8, strips, tags=tags))
    assert (error.field, error.limit) == ("image.parts", MAX_STRIPS)


@pytest.mark.parametrize("tag", [258, 338, 339, 530])
def test_tiff_that_says_too_often_how_its_pixels_are_packed_is_refused(tag: int) -> None:
    often = np.full(MAX_STRIPS + 1, 8, np.uint16)
    raw = samples.tiff_of_strips(8, 1, np.array([8], np.uint32), tags={tag: often})
    assert "too many values" in str(refused(raw).__cause__)


def test_strips_that_begin_a_byte_apart_are_not_read_byte_by_byte() -> None:
    reads = list[int | None]()

    class File(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            reads.append(size)
            return super().read(size)

    raw = samples.tiff_of_strips(3000, 2, np.array([8, 9], np.uint16), data=bytes(range(250)) * 13)
    image = TiffFile(File(raw))
    reads.clear()
    image.load()
    assert len(reads) < 100
    assert image.getpixel((0, 1)) == image.getpixel((1, 0)) == 1


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_tiff_whose_strips_turn_the_same_bytes_round_again_and_again_is_refused(
    dtype: type[np.generic],
) -> None:
    tags = {259: np.array([8], np.uint16), 266: np.array([2], np.uint16)}
    strips, nbytes = np.full(99, 8, np.uint32), np.full(99, 500).astype(dtype)
    raw = samples.tiff_of_strips(8, 99, strips, nbytes, zlib.compress(bytes(8)) + bytes(500), tags)
    assert "many times the bytes" in str(refused(raw).__cause__)


# Scans.


def scans_of(count: int, between: bytes = b"") -> bytes:
    """A progressive JPEG of so many scans: its last one again and again."""
    raw = encoded(Image.fromarray(samples.grey()), "JPEG", progressive=True)
    own = raw.count(b"\xff\xda")
    last = raw[raw.rindex(b"\xff\xda") : -2]
    return raw[:-2] + (between + last) * (count - own) + raw[-2:]


@pytest.mark.parametrize("count", [MAX_SCANS - 1, MAX_SCANS])
def test_progressive_jpeg_of_as_many_scans_as_are_allowed_is_read(count: int) -> None:
    assert preprocessor.prepare(scans_of(count)).cost


@pytest.mark.parametrize(
    "between",
    [b"", b"\xff\xfe\0\4\xff\xd9", b"\xff\xd3", b"\xff" * 9, b"\xff\x01"],
    ids=["nothing", "an end marker in a comment", "a restart", "filling", "a marker alone"],
)
def test_progressive_jpeg_of_one_scan_more_is_refused(between: bytes) -> None:
    error = refused(scans_of(MAX_SCANS + 1, between))
    assert (error.field, error.limit, error.value) == ("image.scans", MAX_SCANS, MAX_SCANS + 1)


def test_scans_behind_the_end_of_the_picture_do_not_count() -> None:
    raw = scans_of(MAX_SCANS)
    np.testing.assert_array_equal(
        preprocessor.prepare(raw + raw).data, preprocessor.prepare(raw).data
    )


# Parts of a file.


def in_png(count: int, name: bytes = b"teSt") -> bytes:
    own = 2 + (SOUND["rgb.PNG"].count(b"IDAT") - 1)
    return with_chunk(SOUND["rgb.PNG"], chunk(name, b"") * (count - own))


def in_jpeg(count: int) -> bytes:
    raw = SOUND["rgb.JPEG"]
    own = raw[: raw.index(b"\xff\xda")].count(b"\xff") - 1 + 1
    return raw[:2] + b"\xff\xfe\0\2" * (count - own) + raw[2:]


def in_webp(count: int) -> bytes:
    body = SOUND["rgb.WEBP"][8:] + b"none\0\0\0\0" * (count - 1)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def in_gif(count: int) -> bytes:
    raw = encoded(Image.new("P", (8, 8)), "GIF")
    at = 13 + 3 * (2 << (raw[10] & 7))
    assert raw[at] == 0x2C
    return raw[:at] + b"!\xfe" + b"\1a" * (count - 1) + b"\0" + raw[at:]


@pytest.mark.parametrize("make", [in_png, in_jpeg, in_webp, in_gif])
def test_file_of_as_many_parts_as_are_looked_at_is_read_and_of_one_more_refused(
    make: Callable[[int], bytes],
) -> None:
    assert preprocessor.prepare(make(MAX_PARTS)).cost
    error = refused(make(MAX_PARTS + 1))
    assert (error.field, error.limit) == ("image.parts", MAX_PARTS)


def test_file_of_nothing_but_filling_is_refused() -> None:
    """Every byte of it might begin a marker: looking from each to the end would take hours."""
    assert refused(b"\xff\xd8" + b"\xff" * (4 << 20)).field == "image.data"


def test_gif_with_much_between_its_blocks_is_read_as_without() -> None:
    raw = encoded(Image.fromarray(samples.grey()).convert("P"), "GIF")
    at = 13 + 3 * (2 << (raw[10] & 7))
    junk = raw[:at] + bytes(1 << 20) + raw[at:]
    np.testing.assert_array_equal(preprocessor.prepare(junk).data, preprocessor.prepare(raw).data)


def test_png_of_two_headers_is_refused() -> None:
    """The first would tell a small picture from a large one, and the second would be decoded."""
    header = SOUND["rgb.PNG"][8:33]
    assert refused(with_chunk(SOUND["rgb.PNG"], header)).field == "image.data"


def test_tiff_whose_values_lie_on_top_of_one_another_is_refused() -> None:
    values, tags = bytes(1 << 16), (258, 273, 279, 320, 339, 530)
    sizes = [struct.pack("<HHII", tag, 4, 1, 16) for tag in (256, 257)]
    entries = [*sizes, *(struct.pack("<HHII", tag, 3, 1 << 15, 8) for tag in tags)]
    raw = b"II*\0" + struct.pack("<I", 8 + len(values)) + values
    raw += struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    assert "the directory names more than there is" in str(refused(raw).__cause__)


@given(st.binary(max_size=60), st.sampled_from(sorted(SOUND)))
def test_nothing_that_follows_a_sound_beginning_makes_a_file_raise_anything_else(
    tail: bytes, name: str
) -> None:
    raw = SOUND[name]
    with contextlib.suppress(InvalidInput):
        preprocessor.prepare(raw[: len(raw) // 2] + tail)


# Notes.


def in_segments(exif: bytes, nbytes: int) -> bytes:
    """A JPEG whose EXIF comes in segments of so many bytes."""
    pieces = (exif[at : at + nbytes] for at in range(0, len(exif), nbytes))
    segments = [
        b"\xff\xe1" + struct.pack(">H", len(piece) + 8) + b"Exif\0\0" + piece for piece in pieces
    ]
    raw = SOUND["rgb.JPEG"]
    scan = raw.index(b"\xff\xda")
    return raw[:scan] + b"".join(segments) + raw[scan:]


def exif_of(entries: int) -> bytes:
    """EXIF of so many entries, the last of which says that the picture is turned."""
    numbers = [*range(274 - entries + 1, 274), 274] if entries < 270 else [*range(entries - 1), 274]
    each = (
        struct.pack("<HHII", n if n != 274 or i == entries - 1 else 0xFFFF, 3, 1, 6)
        for i, n in enumerate(numbers)
    )
    return b"II*\0" + struct.pack("<IH", 8, entries) + b"".join(each) + bytes(4)


def test_exif_in_many_segments_turns_the_picture_and_counts_as_slow() -> None:
    raw = in_segments(exif_of(1) + bytes(1_000_000), 120)
    np.testing.assert_array_equal(
        preprocessor.prepare(raw).data, preprocessor.prepare(SOUND["turned-6.JPEG"]).data
    )
    assert decode_cost(raw) > SLOW


def in_profile(exif: bytes) -> bytes:
    text = b"\nexif\n%8d\n%s" % (len(exif), exif.hex().encode())
    packed = b"Raw profile type exif\0\0" + zlib.compress(text)
    return with_chunk(SOUND["rgb.PNG"], chunk(b"zTXt", packed))


@pytest.mark.parametrize(
    "make",
    [
        lambda exif: in_segments(exif, 60_000),
        lambda exif: with_chunk(SOUND["rgb.PNG"], chunk(b"eXIf", exif)),
        in_profile,
    ],
    ids=["JPEG", "PNG", "PNG's text"],
)
def test_exif_is_looked_at_up_to_as_many_entries_as_are_allowed(
    make: Callable[[bytes], bytes],
) -> None:
    upright, turned, *more = (
        preprocessor.prepare(make(exif_of(count))).data
        for count in (MAX_ENTRIES + 1, MAX_ENTRIES, 1, 200)
    )
    assert not np.array_equal(upright, turned)
    for data in more:
        np.testing.assert_array_equal(data, turned)


# Memory.

_PEAK = """
import sys
from pathlib import Path
from models import InputLimits
from models.images import ImagePreprocessor

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

preprocessor = ImagePreprocessor(32, InputLimits())
for name in sys.argv[1:]:
    for raw in (Path(name + ".small").read_bytes(), Path(name).read_bytes()):
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        preprocessor.prepare(raw)
    print(peak() - before)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_decoding_takes_no_more_memory_than_documented(tmp_path: Path) -> None:
    side, bytes_a_pixel = 2000, {"RGB.PNG": 4, "RGBA.PNG": 8, "LA.PNG": 8, "I;16.PNG": 6}
    bytes_a_pixel |= {"P.GIF": 5, "RGBA.WEBP": 16}
    for name in bytes_a_pixel:
        mode, form = name.split(".")
        options = {"lossless": True, "method": 0} if form == "WEBP" else {}
        for end, size in (("", side), (".small", 8)):
            raw = encoded(Image.new(mode, (size, size)), form, **options)
            (tmp_path / f"{name}{end}").write_bytes(raw)
    told = subprocess.run(
        [sys.executable, "-c", _PEAK, *(str(tmp_path / name) for name in bytes_a_pixel)],
        check=True,
        capture_output=True,
    )
    for (name, most), peak in zip(bytes_a_pixel.items(), told.stdout.split(), strict=True):
        assert int(peak) <= (most + 1) * side * side, name
