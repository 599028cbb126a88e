"""What part of a picture a backbone sees, and its safety."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from models import BackboneError, InputLimits, InvalidInput
from models.image_resize import MAX_STRETCH, CentreCrop, ResizeAndCrop, WholePicture
from models.images import ImagePreprocessor
from models.torchvision_ops import declare_missing_operators

SIDES = st.integers(3, 90)


def noise(height: int, width: int) -> np.ndarray:
    random = np.random.default_rng((height, width))
    return random.integers(0, 256, (height, width, 3), np.uint8)


def prepared(crop: CentreCrop | int, raw: Any) -> np.ndarray:
    return ImagePreprocessor(crop, InputLimits()).prepare(raw).data


def stored_turned(pixels: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    return stream.getvalue()


@given(
    height=SIDES,
    width=SIDES,
    resize=st.integers(8, 60),
    share=st.floats(0.1, 1),
    name=st.sampled_from(["bilinear", "bicubic"]),
)
def test_crop_is_torchvisions_to_the_last_bit(
    height: int, width: int, resize: int, share: float, name: str
) -> None:
    declare_missing_operators()
    from torchvision.transforms import InterpolationMode, functional

    crop = max(1, int(resize * share))
    pixels = noise(height, width)
    resized = functional.resize(
        Image.fromarray(pixels), [resize], interpolation=InterpolationMode(name)
    )
    expected = np.asarray(functional.center_crop(resized, [crop]))
    np.testing.assert_array_equal(
        prepared(CentreCrop(resize, (crop, crop), name), pixels), expected
    )


@given(height=SIDES, width=SIDES, spare=st.integers(0, 9))
def test_crop_is_transformers_to_the_last_bit(height: int, width: int, spare: int) -> None:
    declare_missing_operators()
    from transformers import BitImageProcessorPil

    pixels = noise(height, width)
    processor: Any = BitImageProcessorPil(
        size={"shortest_edge": 30 + spare},
        crop_size={"height": 30, "width": 30},
        do_rescale=False,
        do_normalize=False,
    )
    (expected,) = processor(images=[Image.fromarray(pixels)])["pixel_values"]
    crop = CentreCrop(30 + spare, (30, 30), "bicubic", rounding="down")
    np.testing.assert_array_equal(prepared(crop, pixels), expected.transpose(1, 2, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", [24, (30, 20)])
def test_picture_that_is_stored_turned_is_seen_upright(
    orientation: int, resize: int | tuple[int, int]
) -> None:
    from PIL import ImageOps

    down, right = np.mgrid[0:60, 0:90]
    pixels = np.stack([down * 2, right * 2, 255 - right], axis=2).astype(np.uint8)
    raw = stored_turned(pixels, orientation)
    with Image.open(io.BytesIO(raw)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    crop = CentreCrop(resize, (20, 16))
    seen, expected = prepared(crop, raw), prepared(crop, upright)
    assert seen.shape == (20, 16, 3)
    assert np.abs(seen.astype(int) - expected.astype(int)).max() <= 2  # rounded in another order


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "LA", "RGBA", "1"])
def test_every_mode_becomes_rgb_of_the_same_size(mode: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(noise(40, 50)).convert(mode).save(stream, "TIFF")
    assert prepared(CentreCrop(24, (20, 20)), stream.getvalue()).shape == (20, 20, 3)


def test_very_long_picture_is_refused_where_its_shape_is_kept() -> None:
    long = np.zeros((1, MAX_STRETCH + 1, 3), np.uint8)
    with pytest.raises(InvalidInput) as caught:
        prepared(CentreCrop(24, (20, 20)), long)
    error = caught.value
    assert (error.field, error.limit, error.value) == ("image.shape", "100 to 1", "101x1")
    assert prepared(CentreCrop(24, (20, 20)), long[:, :-1]).shape == (20, 20, 3)
    assert prepared(24, long).shape == (24, 24, 3)
    assert prepared(CentreCrop((24, 24), (20, 20)), long).shape == (20, 20, 3)


def test_pixels_are_counted_before_anything_is_decoded() -> None:
    stream = io.BytesIO()
    Image.fromarray(noise(40, 50)).save(stream, "JPEG")
    preprocessor = ImagePreprocessor(CentreCrop(24, (20, 20)), InputLimits(max_pixels=1999))
    with pytest.raises(InvalidInput, match="too many pixels"):
        preprocessor.prepare(stream.getvalue())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"crop": (25, 20)}, "crop: .* is 25x20"),
        ({"crop": (0, 20)}, "crop: .* is 0x20"),
        ({"resize": (30, 19)}, "crop: .* is 20x20"),
        ({"filter": "sharpest"}, "filter: .* bicubic, .* is 'sharpest'"),
    ],
)
def test_crop_that_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BackboneError, match=words):
        CentreCrop(**{"resize": 24, "crop": (20, 20), **fields})


def test_all_that_decides_a_pixel_is_a_parameter() -> None:
    resizes: list[ResizeAndCrop] = [
        CentreCrop(24, (20, 20)),
        CentreCrop(25, (20, 20)),
        CentreCrop((24, 24), (20, 20)),
        CentreCrop(24, (20, 18)),
        CentreCrop(24, (20, 20), "bicubic"),
        CentreCrop(24, (20, 20), rounding="down"),
        WholePicture(20),
        WholePicture(24),
    ]
    marks = {str(sorted(resize.parameters.items())) for resize in resizes}
    assert len(marks) == len(resizes)
