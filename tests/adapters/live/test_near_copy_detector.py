"""Near-copies are recognised one by one as all at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adapters.live import NearCopyDetector
from adapters.live.near_copy_detector import BLOCK
from tests.adapters.data import noisy


def test_what_is_nearly_the_same_as_an_earlier_embedding_is_found() -> None:
    rows, _ = noisy(50, 64, 2, distance=1.0)
    blurred = rows + np.random.default_rng(1).normal(scale=0.01, size=rows.shape).astype(np.float32)
    seen = NearCopyDetector(64)
    assert not seen.add(rows).any()
    assert seen.add(blurred * 3).all()
    assert not seen.add(np.zeros((2, 64), np.float32)).any()


@given(sizes=st.lists(st.integers(1, 40), max_size=12), spread=st.sampled_from((0.05, 0.1, 0.2)))
def test_the_same_are_found_however_they_come(sizes: list[int], spread: float) -> None:
    rng = np.random.default_rng(len(sizes))
    rows = (1 + rng.normal(scale=spread, size=(sum(sizes), 24))).astype(np.float32)
    at_once = NearCopyDetector(24).add(rows)
    seen, found = NearCopyDetector(24), []
    for part in np.split(rows, np.cumsum(sizes)):
        found += seen.add(part).tolist()
    assert found == at_once.tolist()


def test_what_came_long_before_is_let_go_at_the_same_place_however_it_comes() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(2 * BLOCK + 10, 8)).astype(np.float32)
    rows[2 * BLOCK + 1] = rows[5]
    rows[2 * BLOCK + 2] = rows[BLOCK + 5]
    at_once, seen = NearCopyDetector(8).add(rows), NearCopyDetector(8)
    one_by_one = np.concatenate([seen.add(part) for part in np.split(rows, 17 * np.arange(1, 200))])
    assert one_by_one.tolist() == at_once.tolist()
    assert at_once[2 * BLOCK + 2]
    assert seen.nbytes == 2 * BLOCK * 8 * 4
