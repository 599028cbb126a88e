"""Near-duplicates are found, counted, and held out together."""

from __future__ import annotations

import numpy as np
import pytest

from adapters.advice.direct_features import Pixels, Texts
from adapters.advice.near_duplicates import find_near_duplicates
from adapters.diagnostics import MAX_LISTED
from adapters.near_copies import TILE

LABELS = ("a", "b")


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 64)).astype(np.uint8)


def embeddings(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 16)).astype(np.float32)


def test_a_picture_saved_again_is_a_near_duplicate() -> None:
    pixels, rows = pictures(6), embeddings(6)
    pixels[4] = np.clip(pixels[1].astype(int) + 3, 0, 255)
    rows[4] = rows[1] * 1.01
    targets = np.array([0, 1, 0, 1, 0, 1])
    found = find_near_duplicates([rows], Pixels(pixels), targets, LABELS)
    (pair,) = found.pairs
    assert (pair.row, pair.other_row, pair.label, pair.other_label) == (1, 4, "b", "a")
    assert pair.similarity == pytest.approx(1)
    assert (found.count, found.contradicting) == (1, 1)
    assert found.groups.numbers.tolist() == [0, 1, 2, 3, 1, 4]


def test_a_backbone_that_sees_no_difference_makes_no_near_duplicates() -> None:
    blind = np.ones((6, 16), np.float32)
    found = find_near_duplicates([blind], Pixels(pictures(6)), np.arange(6) % 2, LABELS)
    assert found.count == 0


def test_one_backbone_that_sees_a_difference_is_enough() -> None:
    pixels = np.repeat(pictures(1), 4, axis=0)
    spaces = [np.ones((4, 16), np.float32), embeddings(4)]
    found = find_near_duplicates(spaces, Pixels(pixels), np.arange(4) % 2, LABELS)
    assert found.count == 0


def test_texts_with_another_link_are_near_duplicates() -> None:
    texts = [
        "read the news of the day here: http://x.co/abc",
        "read the news of the day here: http://x.co/def",
        "an altogether different text, said the other one",
        "the other one said nothing of the kind, they say",
    ]
    rows = np.vstack([np.ones((2, 4)), np.eye(4)[:2]]).astype(np.float32)
    found = find_near_duplicates([rows], Texts(texts, 2), np.arange(4) % 2, LABELS)
    assert [(pair.row, pair.other_row) for pair in found.pairs] == [(0, 1)]


def test_pictures_of_one_colour_are_near_duplicates() -> None:
    pixels = np.vstack([np.full((2, 64), 90), pictures(2)]).astype(np.uint8)
    rows = np.vstack([np.ones((2, 16)), embeddings(2)]).astype(np.float32)
    found = find_near_duplicates([rows], Pixels(pixels), np.arange(4) % 2, LABELS)
    assert found.groups.numbers.tolist() == [0, 0, 1, 2]


def test_all_pairs_are_counted_and_contradictions_are_listed_first() -> None:
    n = TILE + 20  # two tiles
    pixels, rows = pictures(n), embeddings(n)
    same = [3, 40, TILE + 5, *range(100, 115)]
    pixels[same], rows[same] = pixels[3], rows[3]
    targets = np.zeros(n, np.intp)
    targets[[40, 7]] = 1
    found = find_near_duplicates([rows], Pixels(pixels), targets, LABELS)
    assert found.count == len(same) * (len(same) - 1) // 2
    assert found.contradicting == len(same) - 1
    assert len(found.pairs) == MAX_LISTED
    differ = [pair.label != pair.other_label for pair in found.pairs]
    assert differ == sorted(differ, reverse=True)
    assert sum(differ) == len(same) - 1
    numbers = found.groups.numbers
    assert set(np.flatnonzero(numbers == numbers[3])) == set(same)


def test_named_groups_are_joined_with_near_duplicates() -> None:
    pixels, rows = pictures(6), embeddings(6)
    pixels[4], rows[4] = pixels[1], rows[1]
    names = ["scene", "scene", None, None, None, None]
    found = find_near_duplicates([rows], Pixels(pixels), np.arange(6) % 2, LABELS, names)
    assert found.groups.numbers.tolist() == [0, 0, 1, 2, 0, 3]
    assert found.groups.named == 1
