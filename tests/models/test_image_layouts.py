"""Every kind of pixels is read as it is meant, or refused as a kind that is not read."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import InputLimits, InvalidInput
from models.images import ImagePreprocessor
from tests.models.image_samples import chunk, encoded, grey, packed, png, rgb, rgba, tiff

SIDE = 48
SIZE = (SIDE, SIDE)
GREY, RGB, RGBA = grey(SIDE, SIDE), rgb(SIDE, SIDE), rgba(SIDE, SIDE)
WHITE_IS_ZERO, BLACK_IS_ZERO, COLOURS, PALETTE, INKS, YCBCR = 0, 1, 2, 3, 5, 6
DEFLATE = 8

preprocessor = ImagePreprocessor(SIDE, InputLimits())

Wide = NDArray[Any]


def read(raw: bytes) -> NDArray[np.uint8] | None:
    """The pixels; None where they are refused as a kind that is not read."""
    try:
        return preprocessor.prepare(raw).data
    except InvalidInput as error:
        refusal = error
    assert refusal.field == "image.mode", str(refusal)
    assert "pixels of this kind" in str(refusal)
    return None


def assert_right_or_refused(raw: bytes, right: Wide, tolerance: float = 1.5) -> bool:
    """Returns whether it was read."""
    found = read(raw)
    if found is None:
        return False
    shown = np.broadcast_to(right if right.ndim == 3 else right[..., None], (SIDE, SIDE, 3))
    assert np.abs(found.astype(float) - shown).max() <= tolerance
    return True


def in_bits(levels: NDArray[np.uint8], bits: int) -> Wide:
    """8-bit levels as levels of that many bits."""
    return (levels.astype(np.uint64) * ((1 << bits) - 1) + 127) // 255


def shown(levels: Wide, bits: int) -> NDArray[np.float64]:
    """Levels of that many bits as 8-bit levels."""
    return np.asarray(np.round(levels.astype(float) * 255 / ((1 << bits) - 1)))


def on_white(colours: Wide, alpha: Wide) -> NDArray[np.float64]:
    share = alpha.astype(float)[..., None] / 255
    return np.asarray(colours * share + 255 * (1 - share))


def stored(levels: Wide, bits: int, order: str) -> bytes:
    return packed(levels.astype(np.uint32), bits, order)


def compressed(data: bytes, compression: int) -> bytes:
    return zlib.compress(data) if compression == DEFLATE else data


LAYOUTS = [(order, compression) for order in "<>" for compression in (1, DEFLATE)]


@pytest.mark.parametrize(("order", "compression"), LAYOUTS)
def test_grey_tiff_of_any_depth_is_right_or_refused(order: str, compression: int) -> None:
    were_read = set()
    for bits in (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 32):
        for white_first in (WHITE_IS_ZERO, BLACK_IS_ZERO):
            for kind in (1, 2):
                levels = in_bits(GREY, bits)
                file = levels if white_first else (1 << bits) - 1 - levels
                if kind == 2:  # signed: black is the lowest number
                    file = (file + (1 << bits - 1)) % (1 << bits)
                data = compressed(stored(file, bits, order), compression)
                raw = tiff(
                    data, SIZE, bits, white_first, order=order, kind=kind, compression=compression
                )
                if assert_right_or_refused(raw, shown(levels, bits)):
                    were_read.add((bits, white_first, kind))
    plain = {(bits, white, 1) for bits in (1, 2, 4, 8) for white in (0, 1)} | {(16, 1, 1)}
    assert were_read == plain | ({(12, 1, 1), (16, 0, 1)} if order == "<" else set())


@pytest.mark.parametrize("width", [1, 7, 49])
def test_rows_of_12_bits_may_end_within_a_byte(width: int) -> None:
    levels = grey(width, SIDE)
    raw = tiff(packed(in_bits(levels, 12).astype(np.uint16), 12), (width, SIDE), 12, BLACK_IS_ZERO)
    right = read(encoded(Image.fromarray(levels), "PNG"))
    found = read(raw)
    assert found is not None
    assert right is not None
    np.testing.assert_allclose(found.astype(float), right, atol=2)


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize(("order", "compression"), LAYOUTS)
def test_colour_tiff_of_any_layout_is_right_or_refused(
    order: str, compression: int, planar: int
) -> None:
    inks = np.asarray(Image.fromarray(RGB).convert("CMYK"))
    chroma = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
    faint = np.round(RGBA[..., :3] * (RGBA[..., 3:] / 255)).astype(np.uint8)
    over_white, grey_over_white = (
        on_white(RGB, RGBA[..., 3]),
        on_white(GREY[..., None], RGBA[..., 3]),
    )
    cases: Sequence[tuple[int, Wide, Wide, list[int]]] = (
        (COLOURS, RGB, RGB, []),
        (COLOURS, RGBA, RGB, [0]),
        (COLOURS, np.dstack([faint, RGBA[..., 3]]), over_white, [1]),
        (COLOURS, RGBA, over_white, [2]),
        (COLOURS, RGBA, over_white, []),
        (BLACK_IS_ZERO, np.dstack([GREY, RGBA[..., 3]]), GREY, [0]),
        (BLACK_IS_ZERO, np.dstack([GREY, RGBA[..., 3]]), grey_over_white, [2]),
        (WHITE_IS_ZERO, np.dstack([255 - GREY, RGBA[..., 3]]), grey_over_white, [2]),
        (INKS, inks, RGB, []),
        (YCBCR, chroma, RGB, []),
        (BLACK_IS_ZERO, GREY[..., None], GREY, []),
        (WHITE_IS_ZERO, 255 - GREY[..., None], GREY, []),
    )
    were_read = 0
    for photometric, samples, right, extra in cases:
        for bits in (8, 12, 16, 32):
            levels, channels = in_bits(samples, bits), samples.shape[2]
            planes = (
                [stored(levels.reshape(SIDE, -1), bits, order)]
                if planar == 1
                else [stored(levels[..., band], bits, order) for band in range(channels)]
            )
            more = [(338, 3, extra)] if extra else []
            raw = tiff(
                [compressed(plane, compression) for plane in planes],
                SIZE,
                bits,
                photometric,
                channels,
                order=order,
                compression=compression,
                planar=planar,
                more=[*more, (530, 3, [1, 1])] if photometric == YCBCR else more,
            )
            were_read += assert_right_or_refused(raw, right, tolerance=3.5)
    assert were_read >= 4


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("white_first", [WHITE_IS_ZERO, BLACK_IS_ZERO])
def test_single_channel_that_is_called_apart_is_right_or_refused(
    white_first: int, bits: int
) -> None:
    levels = in_bits(GREY, bits)
    file = levels if white_first else (1 << bits) - 1 - levels
    raw = tiff(stored(file, bits, "<"), SIZE, bits, white_first, planar=2)
    were_read = assert_right_or_refused(raw, shown(levels, bits))
    assert were_read or white_first == WHITE_IS_ZERO or bits in (2, 4, 16)


def test_uncompressed_tiff_with_fewer_pixels_of_colour_is_refused() -> None:
    data = bytes(SIDE * SIDE * 3 // 2)
    assert read(tiff(data, SIZE, 8, YCBCR, 3, more=[(530, 3, [2, 2])])) is None


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("unit", [1, 257])
def test_colour_map_is_read_in_either_width(bits: int, unit: int) -> None:
    table = np.random.default_rng(bits).integers(0, 256, (3, 1 << bits), np.uint8)
    index = in_bits(GREY, bits)
    colours = (table.astype(int) * unit).reshape(-1).tolist()
    raw = tiff(stored(index, bits, "<"), SIZE, bits, PALETTE, more=[(320, 3, colours)])
    assert assert_right_or_refused(raw, table.T[index]) == (bits <= 8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, DEFLATE])
@pytest.mark.parametrize("form", ["f2", "f4", "f8"])
def test_floating_point_is_a_kind_that_is_not_read(form: str, compression: int, order: str) -> None:
    for samples, photometric, channels in ((GREY, 1, 1), (GREY, 0, 1), (RGB, 2, 3)):
        data = (samples / 255).astype(order + form).tobytes()
        bits = 8 * int(form[1])
        raw = tiff(
            compressed(data, compression),
            SIZE,
            bits,
            photometric,
            channels,
            order=order,
            kind=3,
            compression=compression,
        )
        assert read(raw) is None


@pytest.mark.parametrize("compression", [34712, 34661, 34887, 50001, 65535])
def test_compression_that_is_not_known_is_a_kind_that_is_not_read(compression: int) -> None:
    assert read(tiff(RGB.tobytes(), SIZE, 8, COLOURS, 3, compression=compression)) is None


def test_refusal_says_what_the_pixels_are() -> None:
    raw = tiff((RGB / 255).astype("<f4").tobytes(), SIZE, 32, COLOURS, 3, kind=3)
    with pytest.raises(InvalidInput) as caught:
        preprocessor.prepare(raw)
    value = "TIFF, compression 1, photometric 2, bits 32/32/32, sample format 3/3/3, planar 1"
    assert caught.value.value == value


def test_wide_grey_of_no_photometric_tag_is_black_at_zero() -> None:
    plain = tiff(packed(in_bits(GREY, 16), 16, "<"), SIZE, 16, BLACK_IS_ZERO)
    untold = plain.replace(struct.pack("<HH", 262, 3), struct.pack("<HH", 65000, 3), 1)
    assert untold != plain
    assert assert_right_or_refused(untold, GREY)


# PNG.


def clear(levels: NDArray[np.uint8], bits: int) -> Iterator[tuple[bytes, Wide]]:
    """Grey files with a transparent value, and what they show."""
    file = in_bits(levels, bits)
    value = int(file[5, 5])
    right = np.where(file == value, 255, shown(file, bits))
    yield png(file, bits, 0, chunk(b"tRNS", struct.pack(">H", value))), right
    if bits < 16:  # bits above the depth do not count
        yield png(file, bits, 0, chunk(b"tRNS", struct.pack(">H", value | 1 << bits))), right


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_transparent_grey_of_any_depth_shows_white(bits: int) -> None:
    for raw, right in clear(GREY, bits):
        assert assert_right_or_refused(raw, right)


def test_bits_above_the_depth_of_a_transparent_black_do_not_count() -> None:
    for bits in (1, 2, 4, 8):
        file = in_bits(GREY, bits)
        file[5, 5] = 0
        raw = png(file, bits, 0, chunk(b"tRNS", struct.pack(">H", 0xFFFF << bits & 0xFFFF)))
        assert assert_right_or_refused(raw, np.where(file == 0, 255, shown(file, bits)))


def test_transparent_grey_is_told_from_a_level_beside_it() -> None:
    levels = np.full((SIDE, SIDE), 1000, np.uint16)
    levels[:, 20:] = 1001  # the same in 8 bits
    found = read(png(levels, 16, 0, chunk(b"tRNS", struct.pack(">H", 1000))))
    assert found is not None
    assert set(np.unique(found[:, :20])) == {255}
    assert set(np.unique(found[:, 20:])) == {4}


@pytest.mark.parametrize("bits", [8, 16])
def test_transparent_colour_shows_white(bits: int) -> None:
    file = in_bits(RGB, bits)
    right = np.where((file == file[5, 5]).all(-1)[..., None], 255, RGB)
    for above in (0, 0xFF00) if bits == 8 else (0,):
        value = struct.pack(">3H", *(int(level) | above for level in file[5, 5]))
        raw = png(file, bits, 2, chunk(b"tRNS", value))
        assert assert_right_or_refused(raw, right)


def test_transparent_colour_is_told_from_one_beside_it() -> None:
    levels = np.full((SIDE, SIDE, 3), 1000, np.uint16)
    levels[:, 20:, 2] = 1001  # the same in 8 bits
    found = read(png(levels, 16, 2, chunk(b"tRNS", struct.pack(">3H", 1000, 1000, 1000))))
    assert found is not None
    assert set(np.unique(found[:, :20])) == {255}
    assert set(np.unique(found[:, 20:])) == {3}


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_with_alpha_is_laid_on_white(bits: int) -> None:
    rolls, count = np.random.default_rng(bits), 1 << bits
    table, alpha = rolls.integers(0, 256, (count, 3), np.uint8), rolls.integers(0, 256, count)
    index = in_bits(GREY, bits)
    for given in {1, count // 2, count}:
        known = np.where(np.arange(count) < given, alpha, 255)
        notes = chunk(b"PLTE", table.tobytes()), chunk(b"tRNS", bytes(alpha[:given].tolist()))
        right = on_white(table[index], known[index])
        assert assert_right_or_refused(png(index, bits, 3, *notes), right)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("colour", "first"), [(4, 2), (6, 0)])
def test_alpha_of_either_depth_is_laid_on_white(bits: int, colour: int, first: int) -> None:
    samples = RGBA[..., first:]
    right = on_white(samples[..., :-1], samples[..., -1])
    for notes in ((), (chunk(b"tRNS", b"\0"),)):  # which has no place beside alpha
        assert assert_right_or_refused(png(in_bits(samples, bits), bits, colour, *notes), right)


def test_png_as_apple_packs_it_is_a_kind_that_is_not_read() -> None:
    raw = encoded(Image.fromarray(RGB), "PNG")
    assert read(raw[:8] + chunk(b"CgBI", bytes(4)) + raw[8:]) is None


# BMP.


def bmp(
    data: bytes,
    bits: int,
    compression: int = 0,
    *,
    table: bytes = b"",
    colors: int = 0,
    masks: bytes = b"",
    size: int = 40,
) -> bytes:
    """A BMP file; `size` is what it says of its header."""
    numbers = (SIDE, SIDE, 1, bits, compression, len(data), 0, 0, colors, 0)
    header = struct.pack("<IiiHHIIiiII", size, *numbers) + masks
    offset = 14 + len(header) + len(table)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + header + table + data


def bmp_rows(levels: Wide, bits: int) -> bytes:
    rows = packed(levels[::-1].astype(np.uint16), bits)
    stride = len(rows) // SIDE
    return b"".join(
        rows[at : at + stride].ljust(-(-stride // 4) * 4, b"\0")
        for at in range(0, len(rows), stride)
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_bmp_with_a_gray_palette_is_right_or_refused(bits: int) -> None:
    count = 1 << bits
    ramp = [level * 255 // (count - 1) for level in range(count)]
    tables = [ramp, ramp[::-1], list(range(count))]
    tables += [[0, 255], [255, 0], [0, 1, 2], list(range(16))]
    for table in (table for table in tables if len(table) <= count):
        index = in_bits(GREY, bits) % len(table)
        colours = b"".join(bytes([level, level, level, 0]) for level in table)
        for colors in {0 if len(table) == count else len(table), len(table)}:
            raw = bmp(bmp_rows(index, bits), bits, table=colours, colors=colors)
            assert_right_or_refused(raw, np.array(table)[index])


def test_bmp_of_true_colours_is_right_or_refused() -> None:
    blue_first = np.dstack([RGB[::-1, :, ::-1], np.zeros_like(GREY)])
    words = [(RGB[::-1] >> 3).astype(np.uint16)[..., band] for band in range(3)]
    five = (words[0] << 10 | words[1] << 5 | words[2]).astype("<u2").tobytes()
    eight, ten = (
        struct.pack("<3I", 0xFF0000, 0xFF00, 0xFF),
        struct.pack("<3I", 0x3FF00000, 0xFFC00, 0x3FF),
    )
    assert assert_right_or_refused(bmp(blue_first[..., :3].tobytes(), 24), RGB)
    assert assert_right_or_refused(bmp(blue_first.tobytes(), 32), RGB)
    assert assert_right_or_refused(bmp(blue_first.tobytes(), 32, 3, masks=eight), RGB)
    assert assert_right_or_refused(bmp(five, 16), shown(RGB >> 3, 5))
    assert read(bmp(blue_first.tobytes(), 32, 3, masks=ten)) is None
    assert read(bmp(five, 16, 3, masks=struct.pack("<3I", 0xF00, 0xF0, 0xF))) is None


@pytest.mark.parametrize(
    ("bits", "compression", "header"),
    [(64, 0, 40), (0, 4, 40), (0, 5, 40), (24, 0, 16), (24, 11, 40)],
)
def test_bmp_that_is_not_read_is_called_that(bits: int, compression: int, header: int) -> None:
    assert read(bmp(RGB.tobytes() * 3, bits, compression, size=header)) is None


# JPEG.


@pytest.mark.parametrize(("bits", "channels"), [(12, 3), (16, 1), (8, 2), (8, 5)])
def test_jpeg_of_other_depths_and_channels_is_a_kind_that_is_not_read(
    bits: int, channels: int
) -> None:
    raw = bytearray(encoded(Image.fromarray(RGB), "JPEG"))
    frame = raw.index(b"\xff\xc0")
    raw[frame + 4], raw[frame + 9] = bits, channels
    assert read(bytes(raw)) is None


@pytest.mark.parametrize("process", [5, 6, 7, 11, 13, 14, 15])
def test_jpeg_of_other_processes_is_a_kind_that_is_not_read(process: int) -> None:
    raw = bytearray(encoded(Image.fromarray(RGB), "JPEG"))
    raw[raw.index(b"\xff\xc0") + 1] = 0xC0 + process
    assert read(bytes(raw)) is None


def test_jpeg_that_says_its_height_behind_the_scan_is_a_kind_that_is_not_read() -> None:
    raw = bytearray(encoded(Image.fromarray(RGB), "JPEG"))
    frame = raw.index(b"\xff\xc0")
    raw[frame + 5 : frame + 7] = b"\0\0"
    after = raw[:-2] + b"\xff\xdc\0\4" + bytes([0, SIDE]) + raw[-2:]
    assert read(bytes(after)) is None


def test_jpeg_ls_is_a_kind_that_is_not_read() -> None:
    assert read(b"\xff\xd8\xff\xf7\0\x0b\x08" + bytes(40) + b"\xff\xd9") is None
