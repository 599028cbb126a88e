"""Every kind of pixels is read as it is meant, or refused as a kind that is not read."""

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import InvalidInput
from tests.models.image_samples import chunk, encoded, grey, packed, png, tiff
from tests.models.layouts import (
    GREY,
    RGB,
    RGBA,
    SIDE,
    SIZE,
    Wide,
    assert_right_or_refused,
    in_bits,
    preprocessor,
    read,
    shown,
)

WHITE_IS_ZERO, BLACK_IS_ZERO, COLOURS, PALETTE, INKS, YCBCR = 0, 1, 2, 3, 5, 6

DEFLATE = 8


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
