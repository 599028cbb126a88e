"""BMP and JPEG files of every layout: right, or refused by name."""

import struct

import numpy as np
import pytest
from PIL import Image

from tests.models.image_samples import encoded, packed
from tests.models.layouts import (
    GREY,
    RGB,
    SIDE,
    Wide,
    assert_right_or_refused,
    in_bits,
    read,
    shown,
)

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
