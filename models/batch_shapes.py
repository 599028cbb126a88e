"""Buckets: which rows run together, and the few shapes that a GPU's graphs are recorded for.

Pure functions. Texts of one length bucket share a pass, so that a short text is not padded to the
length of a long neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LENGTHS = (16, 32, 64, 128, 256, 512)
"""Tokens; a longer text is in the bucket of the next multiple of the last."""

ROWS = (1, 2, 4, 8, 16, 32, 64)
"""Rows of a batch on a GPU; a larger batch is cut into several."""

TOKENS = 16_384
"""Of a pass that is recorded for a GPU, padding included. Kernels of larger ones take so long that
launching them costs nothing, and their recordings would take much memory and time to make."""

_MULTIPLE = 8


def length_bucket(length: int, limit: int | None = None) -> int:
    """Return the bucket of a text: tokens, its own included, that it costs at most.

    Args:
        length: its tokens.
        limit: tokens that the network can take, which no bucket goes beyond.
    """
    last = LENGTHS[-1]
    bucket = next((size for size in LENGTHS if size >= length), -(-length // last) * last)
    return bucket if limit is None else max(length, min(bucket, limit))


def lengths_up_to(limit: int) -> tuple[int, ...]:
    """Return every bucket of texts of up to `limit` tokens."""
    return tuple(sorted({length_bucket(length, limit) for length in range(1, limit + 1)}))


def padded_length(lengths: Sequence[int], limit: int | None = None) -> int:
    """Return the width of a batch of texts: the longest, rounded up to a multiple of 8.

    Rounding makes fewer distinct shapes for the engines' memory plans.
    """
    longest = max(lengths)
    width = -(-longest // _MULTIPLE) * _MULTIPLE
    return width if limit is None else max(longest, min(width, limit))


def group_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Return the indices of rows, one list for each length bucket, the short ones first."""
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        groups.setdefault(length_bucket(length), []).append(index)
    return [groups[bucket] for bucket in sorted(groups)]


def cut_into_batches(rows: int) -> list[tuple[slice, int]]:
    """Cut a batch where it is larger than the largest bucket of rows.

    Returns the rows of each part and its bucket, which is at least as large.
    """
    starts = range(0, rows, ROWS[-1])
    parts = [slice(start, min(start + ROWS[-1], rows)) for start in starts]
    return [(part, next(size for size in ROWS if size >= part.stop - part.start)) for part in parts]


def shorten(
    inputs: Mapping[str, NDArray[Any]], length: int | None, rows: int
) -> dict[str, NDArray[Any]]:
    """Cut collated arrays to at most `rows` rows and, unless it is None, `length` tokens."""
    return {name: array[:rows, :length] for name, array in inputs.items()}


def fill_bucket(
    inputs: Mapping[str, NDArray[Any]], rows: int, length: int | None = None
) -> dict[str, NDArray[Any]]:
    """Make collated arrays as large as their bucket.

    Args:
        inputs: arrays of shape (n, ...); of texts (n, tokens, ...).
        rows: n afterwards. The last row is repeated: unlike zeros it cannot make a network
            divide by nothing.
        length: tokens afterwards, filled with zeros, which the mask among the inputs says are
            none; None leaves that axis alone.
    """
    filled = {}
    for name, array in inputs.items():
        if length is not None:
            missing = [(0, 0), (0, length - array.shape[1])] + [(0, 0)] * (array.ndim - 2)
            array = np.pad(array, missing)
        last = np.broadcast_to(array[-1:], (rows - len(array), *array.shape[1:]))
        filled[name] = np.concatenate([array, last])
    return filled
