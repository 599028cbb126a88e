"""Side notes of a file do not decide whether its pixels are read."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.models import image_samples as samples
from tests.models.image_samples import chunk, encoded, with_chunk
from tests.models.reading_pixels import (
    FILES,
    assert_read_as_pillow_does,
    pixels,
    refusal,
)

# Pillow warns of tags that it passes over.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PNG, JPEG = FILES["rgb.PNG"], FILES["rgb.JPEG"]
BOMB = zlib.compress(bytes(3_000_000))

NOTES = {
    "short-gamma": (b"gAMA", b"\0\1"),
    "short-chromaticity": (b"cHRM", b"\0" * 7),
    "empty-srgb": (b"sRGB", b""),
    "short-density": (b"pHYs", b"\0\0\0\1"),
    "long-time": (b"tIME", b"\0" * 40),
    "background": (b"bKGD", b""),
    "histogram": (b"hIST", b"\1"),
    "significant-bits": (b"sBIT", b""),
    "palettes": (b"sPLT", b"no"),
    "text-without-key": (b"tEXt", b"no key at all"),
    "text-empty": (b"tEXt", b""),
    "text-packed-large": (b"zTXt", b"Comment\0\0" + BOMB),
    "text-packed-otherwise": (b"zTXt", b"Comment\0\7" + BOMB),
    "text-packed-broken": (b"zTXt", b"Comment\0\0" + BOMB[:40]),
    "text-without-packing": (b"zTXt", b"Comment"),
    "text-international-large": (b"iTXt", b"Comment\0\1\0en\0\0" + BOMB),
    "text-not-utf8": (b"iTXt", b"Comment\0\0\0en\0\0\xff\xfe"),
    "xmp-large": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
    "xmp-odd": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation=\xff"),
    "profile-large": (b"iCCP", b"icc\0\0" + BOMB),
    "profile-broken": (b"iCCP", b"icc\0\0no zlib"),
    "profile-packed-otherwise": (b"iCCP", b"icc\0\1" + BOMB),
    "profile-empty": (b"iCCP", b""),
    "profile-without-packing": (b"iCCP", b"icc\0"),
    "exif-broken": (b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    "exif-empty": (b"eXIf", b""),
    "exif-in-text": (b"tEXt", b"Raw profile type exif\0\nexif\n9\nzz"),
    "animation-short": (b"acTL", b"\0"),
    "animation-of-none": (b"acTL", b"\0" * 8),
    "frame-short": (b"fcTL", b"\0" * 3),
    "frame-too-large": (b"fcTL", struct.pack(">6IHHBB", 0, 0, 999, 999, 0, 0, 1, 1, 0, 0)),
    "private": (b"abCd", b"what only its maker knows"),
    "private-not-to-be-copied": (b"zzZZ", bytes(range(256))),
}


@pytest.mark.parametrize("name", NOTES)
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_odd_chunk_does_not_refuse_a_sound_png(name: str, before: bytes) -> None:
    expected, note = pixels(PNG), chunk(*NOTES[name])
    np.testing.assert_array_equal(pixels(with_chunk(PNG, note, before)), expected)
    wrong = note[:-1] + bytes([note[-1] ^ 1])
    np.testing.assert_array_equal(pixels(with_chunk(PNG, wrong, before)), expected)


def test_note_between_the_pixels_of_a_png_does_not_refuse_it() -> None:
    raw = FILES["several-chunks.PNG"]
    at = raw.index(b"IDAT", raw.index(b"IDAT") + 9) - 4
    between = raw[:at] + chunk(b"tEXt", b"Comment\0in between") + raw[at:]
    np.testing.assert_array_equal(pixels(between), pixels(raw))


def test_damage_to_what_moves_a_picture_does_not_refuse_its_first_frame() -> None:
    raw = FILES["frames.PNG"]
    start = raw.index(b"fcTL") + 4
    for at in range(start, start + 30):
        hurt = raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]
        np.testing.assert_array_equal(pixels(hurt), pixels(raw))


def test_many_packed_texts_are_not_unpacked() -> None:
    note = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(900_000)))
    np.testing.assert_array_equal(pixels(with_chunk(PNG, note * 400)), pixels(PNG))


def test_palette_beside_true_colours_is_a_side_note() -> None:
    for body in (b"", bytes(5), bytes(range(255))):
        np.testing.assert_array_equal(
            pixels(with_chunk(PNG, chunk(b"PLTE", body)[:-1] + b"?")), pixels(PNG)
        )


def test_damaged_transparent_values_are_damaged_pixels() -> None:
    raw = FILES["palette-alpha.PNG"]
    at = raw.index(b"tRNS")
    for where, bit in ((0, 32), (1, 1), (3, 2), (7, 1)):
        hurt = bytearray(raw)
        hurt[at + where] ^= bit
        assert refusal(bytes(hurt)) == "image.data"
    short = samples.png(samples.grey(), 8, 0, chunk(b"tRNS", b"\1"))
    assert refusal(short) == "image.data"


def test_png_without_its_palette_is_refused() -> None:
    raw = FILES["palette.PNG"]
    at = raw.index(b"PLTE")
    for name in (b"pLTE", b"abCd"):
        assert refusal(raw[:at] + name + raw[at + 4 :]) == "image.data"
    assert refusal(samples.png(samples.grey(), 8, 3)) == "image.data"


def segment(code: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(body) + 2) + body


SEGMENTS = {
    "short-jfif": segment(0xE0, b"JFIF\0"),
    "shorter-jfif": segment(0xE0, b"JFIF"),
    "jfif-of-no-version": segment(0xE0, b"JFIF\0\1"),
    "short-adobe": segment(0xEE, b"Adobe"),
    "photoshop": segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4"),
    "photoshop-without-data": segment(0xED, b"Photoshop 3.0\0" + b"8BIM\3\xed\0\0\0\0\0\1\0"),
    "exif-empty": segment(0xE1, b"Exif\0\0"),
    "exif-broken": segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    "exif-twice": segment(0xE1, b"Exif\0\0MM") * 2,
    "xmp": segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0\xff\xff tiff:Orientation="x'),
    "profile-short": segment(0xE2, b"ICC_PROFILE\0"),
    "profile-of-no-count": segment(0xE2, b"ICC_PROFILE\0\1"),
    "profile-missing-parts": segment(0xE2, b"ICC_PROFILE\0\2\5abc") * 3,
    "more-pictures": segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    "flashpix": segment(0xE2, b"FPXR\0"),
    "empty": b"".join(segment(code, b"") for code in range(0xE0, 0xF0)),
    "length-of-none": b"\xff\xe5\x00\x00",
    "comment-empty": segment(0xFE, b""),
    "comment-odd": segment(0xFE, b"\xff\xd9\xff\xd8"),
    "many": segment(0xE9, bytes(60_000)) * 40,
    "filled-up": b"\xff\xff\xff" + segment(0xFE, b"after fill bytes"),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_odd_segment_does_not_refuse_a_sound_jpeg(name: str) -> None:
    table = JPEG.index(b"\xff\xdb")
    for at in (2, table):
        found = pixels(JPEG[:at] + SEGMENTS[name] + JPEG[at:])
        np.testing.assert_array_equal(found, pixels(JPEG))


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


WEBP_NOTES = {
    "exif-broken": webp_chunk(b"EXIF", b"MM\0*\xff\xff\xff\xff"),
    "exif-empty": webp_chunk(b"EXIF", b""),
    "profile-broken": webp_chunk(b"ICCP", b"no profile"),
    "xmp-broken": webp_chunk(b"XMP ", b"\xff" * 9),
    "unknown": webp_chunk(b"abcd", b"what only its maker knows"),
    "twice": webp_chunk(b"EXIF", b"II") * 2,
}


@pytest.mark.parametrize("name", WEBP_NOTES)
@pytest.mark.parametrize("flags", [0, 0x2C])
def test_odd_chunk_does_not_refuse_a_sound_webp(name: str, flags: int) -> None:
    image = encoded(Image.fromarray(samples.rgb()), "WEBP", lossless=True)[12:]
    size = struct.pack("<I", samples.WIDTH - 1)[:3] + struct.pack("<I", samples.HEIGHT - 1)[:3]
    head = webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size)
    note, expected = WEBP_NOTES[name], pixels(riff(image))
    for raw in (riff(head, note, image), riff(head, image, note), riff(image, note)):
        np.testing.assert_array_equal(pixels(raw), expected)


@pytest.mark.parametrize("body", [bytes(40), b"\xff" * 40])
def test_webp_that_begins_with_no_picture_is_damaged_and_not_too_large(body: bytes) -> None:
    assert refusal(riff(webp_chunk(b"abcd", body))) == "image.data"


def test_odd_extension_does_not_refuse_a_sound_gif() -> None:
    raw = FILES["palette.GIF"]
    at = 13 + 3 * (2 << (raw[10] & 7))  # where the palette ends
    for extension in (
        b"!\xf9\0",
        b"!\xf9\x01\0\0",
        b"!\xfe\0",
        b"!\xfe\x03abc\x02de\0",
        b"!\xff\x0bNETSCAPE2.0\0",
        b"!\xff\x0bNETSCAPE2.0\x01\x01\0",
        b"!\xff\x0bXMP DataXMP\x05<odd>\0",
        b"!\xff\0",
        b"!\x01\x02no\0",
        b"!\x77\x02??\0",
    ):
        np.testing.assert_array_equal(pixels(raw[:at] + extension + raw[at:]), pixels(raw))


ODD_TAGS: dict[str, tuple[int, int, list[int]]] = {
    "resolution-of-two": (282, 4, [1, 2, 3]),
    "resolution-unit": (296, 4, [2, 2]),
    "exif-outside": (34665, 4, [0xFFFFFFF0]),
    "exif-on-itself": (34665, 4, [8]),
    "gps-outside": (34853, 4, [0x7FFFFFFF]),
    "interoperability": (40965, 3, [1, 2, 3]),
    "profile": (34675, 3, [1, 2, 3]),
    "xmp-as-numbers": (700, 3, [9, 9, 9]),
    "software-as-number": (305, 4, [7]),
    "turned-by-nine": (274, 3, [9]),
    "turned-twice": (274, 3, [6, 6, 6]),
    "photoshop": (34377, 1, [1, 2, 3]),
    "private": (65000, 4, [1] * 20),
}


@pytest.mark.parametrize("name", ODD_TAGS)
@pytest.mark.parametrize("packed", [False, True])
def test_odd_tag_does_not_refuse_a_sound_tiff(name: str, packed: bool) -> None:
    data = zlib.compress(samples.rgb().tobytes()) if packed else samples.rgb().tobytes()
    size, compression = (samples.WIDTH, samples.HEIGHT), 8 if packed else 1
    plain = samples.tiff(data, size, 8, 2, 3, compression=compression)
    odd = samples.tiff(data, size, 8, 2, 3, compression=compression, more=[ODD_TAGS[name]])
    np.testing.assert_array_equal(pixels(odd), pixels(plain))


@pytest.mark.parametrize("tag", [256, 257, 259, 277])
@pytest.mark.parametrize("bit", range(8))
def test_tag_of_a_tiff_whose_count_is_damaged_is_read_as_pillow_reads_it(
    tag: int, bit: int
) -> None:
    size = (42, 30)  # as an offset, the width leads to the height's value
    raw = bytearray(samples.tiff(samples.rgb(*size).tobytes(), size, 8, 2, 3, more=[(254, 4, [0])]))
    (entry,) = (at for at in range(10, 160, 12) if struct.unpack_from("<H", raw, at) == (tag,))
    raw[entry + 4] ^= 1 << bit  # its count
    assert_read_as_pillow_does(bytes(raw), f"tag {tag}")
