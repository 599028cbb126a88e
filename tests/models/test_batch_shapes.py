"""Buckets of rows and of lengths."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.batch_shapes import (
    LENGTHS,
    ROWS,
    cut_into_batches,
    fill_bucket,
    group_by_length,
    length_bucket,
    lengths_up_to,
    padded_length,
    shorten,
)

lengths = st.integers(1, 2000)


@given(st.lists(lengths))
def test_rows_of_a_group_share_a_bucket_and_none_is_lost(rows: list[int]) -> None:
    groups = group_by_length(rows)
    assert sorted(index for group in groups for index in group) == list(range(len(rows)))
    buckets = [{length_bucket(rows[index]) for index in group} for group in groups]
    assert all(len(bucket) == 1 for bucket in buckets)
    assert buckets == sorted(buckets, key=min)


@given(st.lists(lengths, min_size=1), st.integers(1, 2000))
def test_batch_is_no_wider_than_its_bucket_or_what_the_network_takes(
    rows: list[int], limit: int
) -> None:
    rows = [min(row, limit) for row in rows]
    width = padded_length(rows, limit)
    assert max(rows) <= width <= length_bucket(max(rows), limit) <= limit


@given(lengths)
def test_every_text_has_one_of_the_buckets_up_to_the_limit(limit: int) -> None:
    buckets = lengths_up_to(limit)
    assert buckets[-1] == limit
    assert {length_bucket(length, limit) for length in range(1, limit + 1)} == set(buckets)
    assert set(buckets[:-1]) <= {*LENGTHS, *range(512, limit, 512)}


@given(st.integers(1, 300))
def test_parts_of_a_batch_are_all_of_it_and_fit_their_buckets(rows: int) -> None:
    parts = cut_into_batches(rows)
    assert [row for part, _ in parts for row in range(part.start, part.stop)] == list(range(rows))
    for part, bucket in parts:
        assert bucket in ROWS
        assert part.stop - part.start <= bucket < 2 * (part.stop - part.start)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.integers(0, 5))
def test_filled_bucket_begins_with_what_went_in(
    rows: int, tokens: int, more_rows: int, more_tokens: int
) -> None:
    numbers = np.arange(1, 1 + rows * tokens).reshape(rows, tokens)
    given = {"ids": numbers, "mask": numbers % 2}
    filled = fill_bucket(given, rows + more_rows, tokens + more_tokens)
    for name, array in filled.items():
        assert array.shape == (rows + more_rows, tokens + more_tokens)
        assert not array[:, tokens:].any()
        np.testing.assert_array_equal(array[rows:, :tokens], given[name][[-1] * more_rows])
    for name, array in shorten(filled, tokens, rows).items():
        np.testing.assert_array_equal(array, given[name])


def test_bucket_of_images_leaves_their_shape_alone() -> None:
    pixels = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    filled = fill_bucket({"pixels": pixels}, 4)["pixels"]
    np.testing.assert_array_equal(filled, pixels[[0, 1, 1, 1]])
