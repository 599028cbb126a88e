"""What becomes of real image files, sound and broken, on their way to the backbone."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from models import InputLimits, InvalidInput
from models.images import ImagePreprocessor

SIZE = 224
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

preprocessor = ImagePreprocessor(SIZE, InputLimits())


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture(width: int = 96, height: int = 64) -> Image.Image:
    """A smooth picture with a different colour in each corner."""
    corners = Image.new("RGB", (2, 2))
    for at, colour in (((0, 0), RED), ((1, 0), GREEN), ((0, 1), BLUE), ((1, 1), (250, 240, 10))):
        corners.putpixel(at, colour)
    return corners.resize((width, height), Image.Resampling.BICUBIC)


def pixels(raw: bytes) -> NDArray[np.uint8]:
    prepared = preprocessor.prepare(raw)
    assert prepared.data.shape == (SIZE, SIZE, 3)
    assert prepared.data.dtype == np.uint8
    return prepared.data


def refused(raw: Any, using: ImagePreprocessor = preprocessor) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        using.prepare(raw)
    error = caught.value
    assert error.limit is not None
    assert error.value is not None
    assert all(str(part) in str(error) for part in (error.field, error.limit, error.value))
    assert " at 0x" not in str(error)
    return error


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_the_same_picture(form: str) -> None:
    tolerance = 12.0 if form == "GIF" else 3.0
    expected = np.asarray(picture().resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    assert difference(pixels(encoded(picture(), form)), expected) < tolerance


def test_lossless_picture_is_resized_whole_with_the_bicubic_filter() -> None:
    image = picture(250, 250)
    expected = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(pixels(encoded(image, "PNG")), expected)


def test_cost_is_the_number_of_pixels_fed_to_the_backbone() -> None:
    assert preprocessor.prepare(encoded(picture(), "PNG")).cost == SIZE * SIZE


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture().transpose(undo[orientation]) if orientation in undo else picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.asarray(picture().resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    assert difference(pixels(encoded(stored, form, exif=exif)), upright) < 3


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
def test_broken_exif_does_not_spoil_the_picture() -> None:
    raw = encoded(picture(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff broken")
    assert difference(pixels(raw), pixels(encoded(picture(), "JPEG"))) == 0


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_gray_becomes_rgb(form: str) -> None:
    gray = picture().convert("L")
    result = pixels(encoded(gray, form))
    assert difference(result[..., 0], result[..., 2]) < 2
    expected = gray.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    assert difference(result[..., 1], np.asarray(expected)) < 3


def test_sixteen_bit_gray_is_scaled_not_clipped() -> None:
    ramp = np.tile(np.linspace(0, 65535, SIZE).astype(np.uint16), (SIZE, 1))
    for form in ("PNG", "TIFF"):
        result = pixels(encoded(Image.fromarray(ramp), form))
        np.testing.assert_allclose(result[0, :, 0], ramp[0] / 257, atol=0.51)


def test_big_endian_sixteen_bit_tiff_is_read_in_its_byte_order() -> None:
    level = np.full((8, 8), 0x4000, np.uint16)
    raw = encoded(Image.frombytes("I;16B", (8, 8), level.astype(">u2").tobytes()), "TIFF")
    assert set(np.unique(pixels(raw))) == {64}


def test_one_bit_picture_is_black_and_white() -> None:
    image = Image.new("1", (10, 10), 1)
    assert pixels(encoded(image, "PNG")).min() == 255
    assert pixels(encoded(Image.new("1", (10, 10), 0), "TIFF")).max() == 0


def test_palette_becomes_its_colours() -> None:
    image = Image.new("RGB", (16, 16), RED).quantize(4)
    np.testing.assert_array_equal(pixels(encoded(image, "PNG"))[100, 100], RED)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_transparent_palette_entry_shows_white(form: str) -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (0, 0, 8, 16))
    result = pixels(encoded(image, form, transparency=0))
    np.testing.assert_array_equal(result[100, 20], BLUE)
    np.testing.assert_array_equal(result[100, 200], WHITE)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white(form: str) -> None:
    image = Image.new("RGBA", (16, 16), (*RED, 255))
    image.paste((*BLUE, 0), (0, 0, 8, 16))
    result = pixels(encoded(image, form, **({"lossless": True} if form == "WEBP" else {})))
    np.testing.assert_array_equal(result[100, 20], WHITE)
    np.testing.assert_array_equal(result[100, 200], RED)


def test_half_transparent_black_is_gray() -> None:
    for mode, colour in (("LA", (0, 128)), ("RGBA", (0, 0, 0, 128))):
        result = pixels(encoded(Image.new(mode, (16, 16), colour), "PNG"))
        assert set(np.unique(result)) <= {127, 128}


def test_transparent_colour_of_an_opaque_png_shows_white() -> None:
    assert pixels(encoded(Image.new("RGB", (8, 8), RED), "PNG", transparency=RED)).min() == 255
    assert pixels(encoded(Image.new("L", (8, 8), 9), "PNG", transparency=9)).min() == 255


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(form: str) -> None:
    result = pixels(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), form))
    assert difference(result[100, 100], np.array(RED, np.uint8)) < 4


def test_ycbcr_tiff_becomes_rgb() -> None:
    raw = encoded(Image.new("RGB", (16, 16), RED).convert("YCbCr"), "TIFF")
    assert difference(pixels(raw)[100, 100], np.array(RED, np.uint8)) < 4


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_pixels_without_an_agreed_white_are_refused(mode: str) -> None:
    error = refused(encoded(Image.new(mode, (8, 8)), "TIFF"))
    assert (error.field, error.value) == ("image.mode", mode)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation_counts(form: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    raw = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert difference(pixels(raw)[100, 100], np.array(RED, np.uint8)) < 4


def test_large_jpeg_looks_like_the_same_picture_decoded_in_full() -> None:
    image = picture(3000, 2000)
    expected = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    result = pixels(encoded(image, "JPEG", quality=95))
    assert difference(result, expected) < 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_are_resized_too(shape: tuple[int, int]) -> None:
    np.testing.assert_array_equal(pixels(encoded(Image.new("RGB", shape, RED), "PNG"))[9, 9], RED)


def test_same_bytes_give_same_pixels_from_many_threads() -> None:
    raw = [encoded(picture(90 + n, 70), "JPEG") for n in range(8)]
    expected = [pixels(data) for data in raw]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            for result, wanted in zip(pool.map(pixels, raw), expected, strict=True):
                np.testing.assert_array_equal(result, wanted)


# Pixel tensors.


def test_pixel_tensor_equals_the_same_picture_as_a_file() -> None:
    image = picture(130, 75)
    tensor = preprocessor.prepare(np.asarray(image)).data
    np.testing.assert_array_equal(tensor, pixels(encoded(image, "PNG")))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((8, 8), "uint8"), ((8, 8, 4), "uint8"), ((8, 8, 3), "float32"), ((1, 8, 8, 3), "uint8")],
)
def test_tensor_that_is_not_rgb_bytes_is_refused(shape: tuple[int, ...], dtype: str) -> None:
    assert refused(np.zeros(shape, dtype)).field == "pixels.shape"


@pytest.mark.parametrize("shape", [(0, 8, 3), (8, 0, 3)])
def test_tensor_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    assert refused(np.zeros(shape, np.uint8)).field == "image.pixels"


def test_tensor_of_too_many_pixels_is_refused() -> None:
    small = ImagePreprocessor(SIZE, InputLimits(max_pixels=100))
    error = refused(np.zeros((11, 10, 3), np.uint8), small)
    assert (error.limit, error.value) == (100, "10x11")


# Files that are refused.


def test_text_is_refused_by_an_image_backbone() -> None:
    assert refused("a temple by a lake").field == "input"


def test_empty_file_is_refused() -> None:
    assert refused(b"").field == "image.bytes"


def test_file_over_the_byte_limit_is_refused() -> None:
    raw = encoded(picture(), "PNG")
    exact = ImagePreprocessor(SIZE, InputLimits(max_image_bytes=len(raw)))
    assert exact.prepare(raw).cost
    error = refused(raw, ImagePreprocessor(SIZE, InputLimits(max_image_bytes=len(raw) - 1)))
    assert (error.field, error.limit, error.value) == ("image.bytes", len(raw) - 1, len(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        b"%PDF-1.7",
        b"P6 1 1 255 abc",
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
        b"\x00\x00\x00\x20ftypavif",
        b"x",
    ],
)
def test_other_formats_are_refused_whatever_their_name(raw: bytes) -> None:
    assert refused(raw).field == "image.format"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kept", [0.3, 0.8])
def test_truncated_file_is_refused(form: str, kept: float) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (128, 128, 3), np.uint8)
    raw = encoded(Image.fromarray(noise), form)
    assert refused(raw[: int(len(raw) * kept)]).field == "image.data"


def test_truncated_large_jpeg_is_refused_although_it_is_decoded_at_a_fraction() -> None:
    noise = np.random.default_rng(3).integers(0, 255, (2000, 2000, 3), np.uint8)
    raw = encoded(Image.fromarray(noise), "JPEG")
    assert refused(raw[: len(raw) // 2]).field == "image.data"


def with_size(raw: bytes, form: str, width: int, height: int) -> bytes:
    """The same file, its header claiming another size."""
    data = bytearray(raw)
    if form == "PNG":
        struct.pack_into(">II", data, 16, width, height)
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    elif form == "JPEG":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    elif form == "GIF":
        struct.pack_into("<HH", data, 6, width, height)
    elif form == "BMP":
        struct.pack_into("<ii", data, 18, width, height)
    elif form == "WEBP":
        struct.pack_into("<HH", data, 26, width, height)
    return bytes(data)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_decompression_bomb_is_refused_by_its_header(form: str) -> None:
    raw = with_size(encoded(picture(16, 16), form), form, 16_000, 16_000)
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        error = refused(raw)
    assert (error.field, error.limit) == ("image.pixels", 50_000_000)
    assert error.value == "16000x16000"
    assert not leaked


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_gif_whose_frame_is_larger_than_its_screen_has_too_many_pixels(side: int) -> None:
    data = bytearray(encoded(picture(16, 16), "GIF"))
    struct.pack_into("<HH", data, data.index(b",\0\0\0\0") + 5, side, side)
    error = refused(bytes(data))
    assert (error.field, error.limit) == ("image.pixels", 50_000_000)
    assert "too many pixels" in str(error)


@pytest.mark.parametrize("form", FORMATS)
def test_pixel_limit_is_the_last_size_let_in(form: str) -> None:
    using = ImagePreprocessor(SIZE, InputLimits(max_pixels=24 * 20))
    assert using.prepare(encoded(picture(24, 20), form)).cost
    assert refused(encoded(picture(24, 21), form), using).value == "24x21"


@pytest.mark.parametrize("options", [{"lossless": True}, {"exact": True, "quality": 50}])
def test_pixel_limit_holds_for_every_kind_of_webp(options: dict[str, Any]) -> None:
    using = ImagePreprocessor(SIZE, InputLimits(max_pixels=24 * 20))
    for mode in ("RGB", "RGBA"):
        image = picture(24, 21).convert(mode)
        image.putpixel((0, 0), (1, 2, 3, 4)[: len(mode)])
        raw = encoded(image, "WEBP", exif=b"Exif\x00\x00", **options)
        assert refused(raw, using).value == "24x21"
        assert refused(encoded(image, "WEBP", **options), using).value == "24x21"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "WEBP"])
def test_header_of_size_zero_is_refused(form: str) -> None:
    assert refused(with_size(encoded(picture(16, 16), form), form, 0, 16)).field.startswith("image")


# No bytes whatever raise anything else.

tight = ImagePreprocessor(32, InputLimits(max_pixels=1 << 16))
SAMPLES = [encoded(picture(40, 30), form) for form in FORMATS] + [
    encoded(picture(40, 30).convert(mode), form)
    for mode, form in (
        ("P", "PNG"),
        ("RGBA", "WEBP"),
        ("L", "TIFF"),
        ("CMYK", "JPEG"),
        ("1", "BMP"),
    )
]


def survives(raw: bytes) -> None:
    try:
        prepared = tight.prepare(raw)
    except InvalidInput:
        return
    assert prepared.data.shape == (32, 32, 3)


@settings(max_examples=400)
@given(
    raw=st.sampled_from(SAMPLES),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.none() | st.integers(0, 4000),
)
def test_mutated_files_are_decoded_or_refused(
    raw: bytes, edits: list[tuple[int, int]], cut: int | None
) -> None:
    data = bytearray(raw)
    for at, byte in edits:
        data[at % len(data)] = byte
    survives(bytes(data[:cut]))


@given(
    magic=st.sampled_from([raw[:16] for raw in SAMPLES] + [b"II*\x00", b"MM\x00*", b""]),
    rest=st.binary(max_size=200),
)
def test_random_bytes_are_decoded_or_refused(magic: bytes, rest: bytes) -> None:
    survives(magic + rest)
