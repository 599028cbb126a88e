"""The pixels decide: damage in them is refused as Pillow refuses it, side notes refuse nothing."""

import contextlib
import io
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import InputLimits, InvalidInput
from models.images import ImagePreprocessor
from tests.models import image_samples as samples
from tests.models.image_samples import chunk, encoded, with_chunk

# Pillow warns of tags that it passes over.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SIDE = 48
ORDER = 1 << 20
preprocessor = ImagePreprocessor(SIDE, InputLimits(max_pixels=ORDER))


def reference(raw: bytes) -> NDArray[np.uint8]:
    """The picture as Pillow alone gives it. Raises nearly anything."""
    image = Image.open(io.BytesIO(raw))
    if image.width * image.height > ORDER:
        raise ValueError("too many pixels")
    image.load()
    shape = (SIDE, SIDE)
    bicubic = Image.Resampling.BICUBIC
    if image.has_transparency_data:
        picture = image.convert("RGBA").resize(shape, bicubic, reducing_gap=2.0)
        white = Image.new("RGBA", shape, "white")
        return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))
    picture = image if image.mode == "L" else image.convert("RGB")
    return np.asarray(picture.resize(shape, bicubic, reducing_gap=2.0).convert("RGB"))


def pixels(raw: bytes) -> NDArray[np.uint8]:
    return preprocessor.prepare(raw).data


def refusal(raw: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        pixels(raw)
    return caught.value.field


# What the checksum of the pixels proves to be damage is refused although Pillow would read it, and
# so is a JPEG without its end marker.
STRICTER = ("fit their checksum", "incorrect data check", "no end marker")

FILES = dict(samples.sound()) | {
    "several-chunks.PNG": b"",
    "small-progressive.JPEG": encoded(Image.fromarray(samples.rgb()), "JPEG", progressive=True),
}


def split_data(raw: bytes, size: int = 700) -> bytes:
    """A PNG file whose pixels lie in several chunks."""
    at = raw.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", raw, at)
    data = raw[at + 8 : at + 8 + length]
    parts = [chunk(b"IDAT", data[start : start + size]) for start in range(0, length, size)]
    return raw[:at] + b"".join(parts) + raw[at + 12 + length :]


FILES["several-chunks.PNG"] = split_data(FILES["rgb.PNG"])
DAMAGED = (
    "rgb.JPEG",
    "small-progressive.JPEG",
    "restarts.JPEG",
    "cmyk.JPEG",
    "notes.JPEG",
    "rgb.PNG",
    "several-chunks.PNG",
    "palette-alpha.PNG",
    "clear-rgb.PNG",
    "4-bit-grey.PNG",
    "rgb.WEBP",
    "lossless.WEBP",
    "rgba.WEBP",
    "frames.WEBP",
    "rgb.GIF",
    "clear-palette.GIF",
    "frames.GIF",
    "rgb.BMP",
    "palette.BMP",
    "rgba.BMP",
    "two-levels.BMP",
    "rgb.TIFF",
    "tiff_lzw.TIFF",
    "tiff_adobe_deflate.TIFF",
    "jpeg.TIFF",
    "packbits.TIFF",
    "fax.TIFF",
    "palette.TIFF",
    "planes.TIFF",
)


def damaged(raw: bytes, name: str, count: int) -> Iterator[tuple[str, bytes]]:
    """The file with a bit flipped, half of them in its first bytes, or cut off."""
    rolls = random.Random(name)
    for turn in range(count):
        if turn % 4 == 3:
            kept = rolls.randrange(9, len(raw))
            yield f"first {kept} bytes", raw[:kept]
            continue
        at = rolls.randrange(min(len(raw), 200) if turn % 2 else len(raw))
        bit = rolls.randrange(8)
        hurt = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
        yield f"bit {bit} of byte {at}", hurt


def assert_read_as_pillow_does(raw: bytes, what: str) -> bool:
    """Returns whether it was read."""
    try:
        expected = reference(raw)
    except Exception:
        with pytest.raises(InvalidInput):
            pixels(raw)
        return False
    try:
        found = pixels(raw)
    except InvalidInput as error:
        reason = str(error.__cause__)
    else:
        np.testing.assert_array_equal(found, expected, err_msg=what)
        return True
    assert any(words in reason for words in STRICTER), (what, reason)
    return False


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_refused_or_read_as_pillow_reads_it(name: str) -> None:
    read = [assert_read_as_pillow_does(raw, what) for what, raw in damaged(FILES[name], name, 120)]
    assert not all(read)


@pytest.mark.long
@pytest.mark.parametrize("name", DAMAGED)
def test_much_damaged_file_is_refused_or_read_as_pillow_reads_it(name: str) -> None:
    for what, raw in damaged(FILES[name], f"{name} again", 3000):
        assert_read_as_pillow_does(raw, what)


@pytest.mark.parametrize("name", ["rgb.PNG", "several-chunks.PNG", "palette.PNG", "grey.PNG"])
def test_png_whose_pixels_are_not_those_written_is_never_read(name: str) -> None:
    raw, right, rolls = FILES[name], pixels(FILES[name]), random.Random(name)
    start, end = raw.index(b"IDAT") + 4, raw.index(b"IEND") - 4
    for _ in range(300):
        at = rolls.randrange(start, end)
        hurt = raw[:at] + bytes([raw[at] ^ 1 << rolls.randrange(8)]) + raw[at + 1 :]
        with contextlib.suppress(InvalidInput):
            np.testing.assert_array_equal(pixels(hurt), right)


def test_wrong_checksum_alone_does_not_refuse_sound_pixels() -> None:
    raw = FILES["rgb.PNG"]
    at = raw.index(b"IEND") - 6
    hurt = raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]
    np.testing.assert_array_equal(pixels(hurt), pixels(raw))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2])
def test_jpeg_without_its_end_marker_is_refused_whatever_the_picture(
    cut: int, progressive: bool
) -> None:
    rolls = np.random.default_rng(3)
    for size in [(1, 1), (8, 8), (16, 17), (90, 40), (300, 211), (700, 500)]:
        noise = rolls.integers(0, 255, (*size, 3), np.uint8)
        for picture in (noise, np.full_like(noise, 200), samples.rgb(*size)):
            raw = encoded(Image.fromarray(picture), "JPEG", progressive=progressive)
            assert refusal(raw[:-cut]) == "image.data"
            assert refusal(raw[:-cut] + bytes(9)) == "image.data"
            assert pixels(raw + b"what came after").shape == (SIDE, SIDE, 3)


# Side notes.

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
