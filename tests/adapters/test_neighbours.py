"""The nearest rows are those of a plain product, whatever the blocks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adapters.neighbours import Nearest
from adapters.novelty import unit

TOLERANCE = 1e-6


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 60),
    queries=st.integers(1, 4),
    count=st.integers(1, 8),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_blocks_give_what_all_rows_at_once_would(
    seed: int, rows: int, queries: int, count: int, cuts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    known = rng.integers(-3, 4, (rows, 5)).astype(np.float32)  # with rows alike, and of zeros
    asked = rng.normal(size=(queries, 5)).astype(np.float32)
    present = rng.random(rows) < 0.8
    search = Nearest(asked, count)
    edges = [0, *sorted(min(cut, rows) for cut in cuts), rows]
    for begin, end in pairwise(edges):
        search.look_at(unit(known[begin:end]), present[begin:end])
    found = search.found()
    lengths = np.linalg.norm(known.astype(np.float64), axis=1)
    cosines = asked.astype(np.float64) @ known.T.astype(np.float64)
    cosines /= np.linalg.norm(asked.astype(np.float64), axis=1)[:, None]
    cosines /= np.where(lengths > 0, lengths, 1)
    assert search.rows() == {row for one in found for row, _ in one}
    for one, expected in zip(found, cosines, strict=True):
        best = np.sort(expected[present])[::-1][:count]
        assert len(one) == len(best)
        assert all(present[row] for row, _ in one)
        assert np.allclose([cosine for _, cosine in one], best, atol=TOLERANCE)
        assert np.allclose([expected[row] for row, _ in one], best, atol=TOLERANCE)
        assert one == sorted(one, key=lambda pair: (-pair[1], pair[0]))


def test_a_cosine_is_never_beyond_one() -> None:
    vector = np.full((1, 384), 0.1, np.float32)
    search = Nearest(vector, 1)
    search.look_at(unit(vector * 7))
    ((_, cosine),) = search.found()[0]
    assert 1 - TOLERANCE < cosine <= 1
