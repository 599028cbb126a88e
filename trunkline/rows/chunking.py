"""Cutting a stream of rows into parts that a message or the memory has room for."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

MAX_MESSAGE_ROWS = 128
MAX_MESSAGE_BYTES = 4 * 2**20
MAX_ASKED = 5_000
MAX_HELD_BYTES = 64 * 2**20
MAX_INPUT_BYTES = 32 * 2**20


def split(
    rows: Iterable[T],
    size: Callable[[T], int] = lambda _: 0,
    *,
    max_rows: int,
    max_bytes: int = 0,
) -> Iterator[list[T]]:
    """Cuts `rows` into lists of at most `max_rows` rows and `max_bytes` bytes, in order.

    Without `size`, which gives a row's bytes, only the rows are counted. A single row of more than
    `max_bytes` makes a list of its own.
    """
    chunk: list[T] = []
    held = 0
    for row in rows:
        cost = size(row)
        if chunk and (len(chunk) == max_rows or held + cost > max_bytes):
            yield chunk
            chunk, held = [], 0
        chunk.append(row)
        held += cost
    if chunk:
        yield chunk
