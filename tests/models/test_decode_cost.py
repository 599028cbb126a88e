"""What decoding an input costs, told from its header alone."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models import decode_cost
from tests.models import image_samples as samples
from tests.models.image_samples import chunk, encoded

SOUND = dict(samples.sound())
SLOW = 200_000_000
SIDES = st.integers(1, 65_535)


def png(width: int, height: int, bits: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    """The beginning of a PNG file; what it would unpack to counts, not what is there."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return samples.PNG + chunk(b"IHDR", header)


def jpeg(width: int, height: int, channels: int = 3, scans: int = 1) -> bytes:
    frame = struct.pack(">HBHHB", 8 + 3 * channels, 8, height, width, channels)
    return b"\xff\xd8\xff\xc2" + frame + bytes(3 * channels) + b"\xff\xda\0\2" * scans


def webp(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0/" + struct.pack("<I", bits)


def gif(width: int, height: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, width, height, 0)
    )


def bmp(width: int, height: int, compression: int = 0) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 8, compression, 0, 0, 0, 0, 0)
    return b"BM" + bytes(12) + head


def tiff(width: int, height: int, order: str = "<") -> bytes:
    sizes = ((256, width), (257, height))
    entries = [struct.pack(f"{order}HHII", tag, 4, 1, side) for tag, side in sizes]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)


MAKERS = [png, jpeg, gif, bmp, tiff, lambda w, h: tiff(w, h, ">")]


@pytest.mark.parametrize("make", MAKERS)
@given(width=SIDES, height=SIDES)
def test_cost_grows_with_pixels_and_rows_and_not_with_bytes(
    make: Callable[[int, int], bytes], width: int, height: int
) -> None:
    cost = decode_cost(make(width, height))
    assert cost >= min(1e10, 3 * width * height + 100 * height)
    assert cost <= 30 * width * height + 100 * height + 10_000


@given(width=st.integers(1, 16_383), height=st.integers(1, 16_383))
def test_cost_of_webp_grows_with_its_canvas(width: int, height: int) -> None:
    assert decode_cost(webp(width, height)) >= 20 * width * height + 100 * height


@pytest.mark.parametrize(
    ("dear", "plain"),
    [
        (png(1, 50_000_000), png(7_071, 7_071)),
        (png(7_000, 7_000, bits=16), png(7_000, 7_000)),
        (png(7_000, 7_000, colour=6), png(7_000, 7_000)),
        (png(7_000, 7_000, interlaced=1), png(7_000, 7_000)),
        (jpeg(7_000, 7_000, channels=4), jpeg(7_000, 7_000)),
        (jpeg(7_000, 7_000, scans=90), jpeg(7_000, 7_000)),
        (bmp(4_000, 4_000, compression=1), bmp(4_000, 4_000)),
    ],
    ids=["tall", "deep", "transparent", "interlaced", "CMYK", "many scans", "runs"],
)
def test_what_takes_longer_to_decode_costs_more(dear: bytes, plain: bytes) -> None:
    assert decode_cost(dear) > decode_cost(plain)


def test_scans_count_wherever_they_are() -> None:
    comments = (b"\xff\xfe\xff\xff" + bytes(0xFFFD)) * 17
    raw = jpeg(7_000, 7_000, scans=100)
    at = raw.index(b"\xff\xda")
    for hidden in (raw[:at] + comments + raw[at:], raw[: at + 4] + comments + raw[at + 4 :]):
        assert decode_cost(hidden) >= decode_cost(raw)


@pytest.mark.parametrize("name", [b"IDAT", b"teSt", b"tRNS"])
def test_chunks_of_a_png_cost_however_little_they_hold(name: bytes) -> None:
    raw = png(8, 8)
    assert decode_cost(raw + chunk(name, b"") * 3_000) - decode_cost(raw) >= 3_000 * 3_000


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt"])
def test_compressed_text_that_may_turn_a_png_costs_what_it_unpacks_to(name: bytes) -> None:
    text = chunk(name, b"XML:com.adobe.xmp\0" + bytes(1_000))
    assert decode_cost(png(8, 8) + 32 * text) >= 32 * 2_000_000
    assert decode_cost(png(8, 8) + 99 * text) <= 33 * 3_000_000


@pytest.mark.parametrize(("compression", "least_ns"), [(1, 6_000), (8, 1_300)])
def test_strips_of_a_tiff_cost_however_little_they_hold(compression: int, least_ns: int) -> None:
    tags = {259: np.array([compression], np.uint16)}
    few, many = (
        decode_cost(samples.tiff_of_strips(8, 8, np.full(count, 8, np.uint16), tags=tags))
        for count in (8, 100_008)
    )
    assert 100_000 * least_ns <= many - few <= 2 * 100_000 * least_ns


@pytest.mark.parametrize(("form", "least_ns"), [(5, 4_000), (3, 300)], ids=["fractions", "numbers"])
def test_what_a_tiff_says_of_its_pixels_costs_by_its_values(form: int, least_ns: int) -> None:
    said = struct.pack("<HHII", 258, form, 100_000, 8)
    raw = tiff(8, 8)
    raw = raw[:8] + struct.pack("<H", 3) + raw[10:34] + said + raw[34:]
    assert decode_cost(raw) - decode_cost(tiff(8, 8)) >= 100_000 * least_ns


@pytest.mark.parametrize("name", sorted(SOUND))
def test_header_of_every_kind_of_file_is_understood(name: str) -> None:
    assert decode_cost(SOUND[name]) < SLOW / 5


def test_only_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in range(0, 200, 10)]
    for form in ("GIF", "WEBP", "PNG"):
        one = encoded(frames[0], form)
        many = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        assert decode_cost(many) <= decode_cost(one) + 20 * len(many)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xd8\xff\xfe\0\2" * 2000 + jpeg(8, 8),
        b"GIF89a" + bytes(7) + b"!\xfe" + b"\1a" * 5000 + b"\0",
        jpeg(8, 8).replace(b"\xff\xda", b"\xff\xfe\0\2" * 2000 + b"\xff\xda"),
        png(8, 8) + chunk(b"teSt", b"") * 5000,
        webp(8, 8)[:20] + bytes(8) + b"none\0\0\0\0" * 2000,
        b"II*\0\xff\xff\xff\xff",
        samples.PNG,
    ],
    ids=[
        "behind segments",
        "behind blocks",
        "before many segments",
        "before many chunks",
        "before many chunks of WebP",
        "nowhere",
        "cut off",
    ],
)
def test_size_that_is_hidden_counts_as_large(raw: bytes) -> None:
    assert decode_cost(raw) > SLOW


@given(st.sampled_from([b"", *(raw[:12] for raw in SOUND.values())]), st.binary(max_size=200))
def test_anything_has_a_cost(beginning: bytes, tail: bytes) -> None:
    assert 1e3 <= decode_cost(beginning + tail) <= 1e10


@given(st.text(max_size=20))
def test_text_costs_by_its_length(text: str) -> None:
    assert decode_cost(text) >= 1500 * len(text.encode())
    assert decode_cost("a" * len(text)) == 1000 + 1500 * len(text)


@given(st.integers(1, 300), st.integers(1, 300))
def test_tensor_costs_by_its_pixels(height: int, width: int) -> None:
    assert decode_cost(np.zeros((height, width, 3), np.uint8)) == 1000 + 10 * height * width
