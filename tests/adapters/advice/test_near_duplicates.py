"""Near-duplicates are found, counted, and held out together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.advice.direct_features import Pixels, Texts
from adapters.advice.near_duplicates import (
    DuplicateGroups,
    deal,
    find_near_duplicates,
    split_groups,
)
from adapters.diagnostics import MAX_LISTED, TILE

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
    assert found.groups.tolist() == [0, 1, 2, 3, 1, 5]


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
    assert found.groups.tolist() == [0, 0, 2, 3]


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
    assert set(np.flatnonzero(found.groups == 3)) == set(same)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_groups_share_a_fold_and_every_training_part_knows_every_class(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 4))
    n = data.draw(st.integers(2 * classes, 60))
    random = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    targets = np.concatenate([np.arange(2 * classes) % classes, random.integers(0, classes, n)])
    n = len(targets)
    names = random.integers(0, data.draw(st.integers(1, n)), n)
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    found = DuplicateGroups(first[inverse], (), 0, 0)
    kept = split_groups(found, targets)
    assert set(kept.groups) <= set(range(n))
    folds = deal(targets, kept.groups, min(10, len(np.unique(kept.groups))), seed=0)
    for group in np.unique(kept.groups):
        assert len(set(folds[kept.groups == group])) == 1
    for fold in range(folds.max() + 1):
        assert set(targets[folds != fold]) == set(targets)
    apart = [len(set(kept.groups[found.groups == group])) > 1 for group in found.groups]
    assert kept.split == sum(apart)


def test_groups_that_fill_a_fold_are_split() -> None:
    targets = np.arange(40) % 2
    groups = np.where(np.arange(40) < 10, 0, np.arange(40))
    kept = split_groups(DuplicateGroups(groups, (), 45, 0), targets)
    assert kept.split == 10
    assert len(np.unique(kept.groups)) == 40
    small = np.where(np.arange(40) < 4, 0, np.arange(40))
    assert split_groups(DuplicateGroups(small, (), 6, 0), targets).split == 0
