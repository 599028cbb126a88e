"""Views of images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models import InputLimits, InvalidInput
from models.views import FLIP_SIDE, SIDE, make_flips, make_views


def gradient() -> np.ndarray:
    """Darker from left to right, redder from top to bottom."""
    down, right = np.mgrid[0:60, 0:90] / 90
    return (np.stack([down, right, 1 - right], axis=2) * 200 + 20).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_same_image_gives_the_same_views_and_more_begin_with_fewer() -> None:
    few, many = make_views(png(gradient()), 3), make_views(png(gradient()), 5)
    assert len(many) == 5
    for one, other in zip(few, many, strict=False):
        np.testing.assert_array_equal(one, other)


def test_views_differ_and_have_the_agreed_form() -> None:
    views = make_views(gradient(), 8)
    assert {(view.dtype.name, view.shape) for view in views} == {("uint8", (SIDE, SIDE, 3))}
    assert len({view.tobytes() for view in views}) == 8


def test_pixels_and_a_lossless_file_of_them_give_the_same_views() -> None:
    for one, other in zip(make_views(gradient(), 2), make_views(png(gradient()), 2), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_second_view_is_mirrored_and_none_stands_on_its_head() -> None:
    for index, view in enumerate(make_views(gradient(), 8)):
        numbers = view.astype(float)
        left, right = numbers[:, : SIDE // 2, 1].mean(), numbers[:, SIDE // 2 :, 1].mean()
        assert (left > right) == (index % 2 == 0)
        assert numbers[: SIDE // 2, :, 0].mean() < numbers[SIDE // 2 :, :, 0].mean()


def test_colours_change_but_little() -> None:
    gray = np.full((40, 40, 3), (180, 90, 60), np.uint8)
    for view in make_views(gray, 16):
        red, green, blue = view.reshape(-1, 3).mean(axis=0)
        assert 180 * 0.6 < red <= 255
        assert red > green > blue


def test_flips_are_the_image_mirrored_upside_down_and_both() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (FLIP_SIDE, FLIP_SIDE, 3), np.uint8)
    flips = make_flips(png(pixels), 3)
    for flip, wanted in zip(
        flips, (pixels[:, ::-1], pixels[::-1], pixels[::-1, ::-1]), strict=True
    ):
        np.testing.assert_array_equal(flip, wanted)
    (first,) = make_flips(gradient(), 1)
    np.testing.assert_array_equal(first, make_flips(gradient(), 3)[2][::-1])


@pytest.mark.parametrize("make", [make_views, make_flips])
@pytest.mark.parametrize("raw", [b"no image", png(gradient())[:80]])
def test_broken_image_is_refused(make: Any, raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        make(raw, 1)


@pytest.mark.parametrize("make", [make_views, make_flips])
def test_image_beyond_the_limits_is_refused(make: Any) -> None:
    with pytest.raises(InvalidInput):
        make(png(gradient()), 1, InputLimits(max_pixels=100))
