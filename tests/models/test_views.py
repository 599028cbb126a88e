"""Views of images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models import InputLimits, InvalidInput
from models.views import FLIP_SIDE, RECIPE, SIDE, make_flips, make_views

LINES = (SIDE // 4, SIDE * 3 // 4)
"""Where `crosses` has its lines; no crop is so small and far to a side that it misses one."""

VIEWS = {
    1: (
        [
            (0.2, 28.6, 318.8, 289.9),
            (9.4, 4.0, 301.4, 294.4),
            (8.5, 4.4, 299.6, 304.0),
            (20.1, 20.1, 275.9, 297.9),
        ],
        [
            (0.961, 0.984, 1.072),
            (1.066, 0.904, 0.915),
            (1.070, 0.910, 0.918),
            (1.074, 0.918, 1.001),
        ],
    )
}
"""Crops and colour factors of the first views, by recipe; see `crops` and `colours`."""


def gradient() -> np.ndarray:
    """Darker from left to right, redder from top to bottom."""
    down, right = np.mgrid[0:60, 0:90] / 90
    return (np.stack([down, right, 1 - right], axis=2) * 200 + 20).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def crosses() -> np.ndarray:
    """White lines on black, which cross in four places."""
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    for line in LINES:
        picture[line - 2 : line + 2] = picture[:, line - 2 : line + 2] = 255
    return picture


def shown(brightness: np.ndarray) -> tuple[float, float]:
    """Where a crop begins and how long it is, from its mean brightness along one axis."""
    low, high = LINES
    above = np.where(brightness > np.median(brightness) + 3, brightness - np.median(brightness), 0)
    at = np.arange(SIDE) + 0.5
    first, second = (
        (at[half] * above[half]).sum() / above[half].sum()
        for half in (slice(SIDE // 2), slice(SIDE // 2, None))
    )
    length = (high - low) * SIDE / (second - first)
    return low - first * length / SIDE, length


def crops(count: int) -> np.ndarray:
    """Left, top, width and height of the views' crops, of shape (count, 4)."""
    found = []
    for index, view in enumerate(make_views(crosses(), count)):
        numbers = view.astype(float).mean(axis=2)
        numbers = numbers[:, ::-1] if index % 2 == 0 else numbers
        (left, width), (top, height) = shown(numbers.mean(axis=0)), shown(numbers.mean(axis=1))
        found.append((left, top, width, height))
    return np.array(found)


def colours(count: int) -> np.ndarray:
    """The views' factors of brightness, contrast and colour, of shape (count, 3)."""
    gray, red = np.full((40, 40, 3), 220, np.uint8), np.full((40, 40, 3), (190, 70, 70), np.uint8)
    halves = np.full((SIDE, SIDE, 3), 40, np.uint8)
    halves[SIDE // 2 :] = 200
    found = []
    for plain, split, vivid in zip(
        *(make_views(picture, count) for picture in (gray, halves, red)), strict=True
    ):
        brightness = plain.mean() / 220
        contrast = (split[-60:].mean() - split[:60].mean()) / 160
        colour = (vivid[..., 0].mean() - vivid[..., 2].mean()) / 120
        found.append((brightness, contrast / brightness, colour / contrast))
    return np.array(found)


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


def test_crops_are_about_square_and_show_most_of_the_picture() -> None:
    left, top, width, height = crops(200).T
    shape, area = width / height, width * height / SIDE**2
    assert 0.895 < shape.min() < 0.93
    assert 1.07 < shape.max() < 1.117
    assert 0.795 < area.min() < 0.83
    assert 0.97 < area.max() < 1.005
    assert min(left.min(), top.min()) > -1
    assert max((left + width).max(), (top + height).max()) < SIDE + 1


def test_colours_change_but_little() -> None:
    factors = colours(16)
    assert (factors > 0.9 - 0.015).all()
    assert (factors < 1 / 0.9 + 0.015).all()
    assert (np.ptp(factors, axis=0) > 0.1).all()


def test_views_stay_those_of_their_recipe() -> None:
    """Views of old recipes are kept: what changes a number here takes a new recipe."""
    boxes, factors = VIEWS[RECIPE]
    np.testing.assert_allclose(crops(4), boxes, atol=0.5)
    np.testing.assert_allclose(colours(4), factors, atol=0.01)


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
