"""Inputs by row, and what became of each, over requests of bounded size."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from trunkline import errors
from trunkline.rows.chunking import (
    MAX_ASKED,
    MAX_INPUT_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_ROWS,
    split,
)
from trunkline.v1 import common_pb2
from trunkline.values.inputs import Input, InputLike, as_input
from trunkline.values.outcomes import Changes, RowFailure
from trunkline.wire.reading import read

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """An input in memory: its index in the whole request, and its size in bytes."""

    index: int
    input: Input
    nbytes: int


def load(index: int, item: InputLike) -> Row | RowFailure:
    """Loads the row of an input; a file that cannot be read costs its own row alone."""
    try:
        loaded = as_input(item).load()
        row = Row(index, loaded, loaded.nbytes)
    except OSError as error:
        code = "NOT_FOUND" if isinstance(error, FileNotFoundError) else "INVALID_ARGUMENT"
        return RowFailure(
            index, code, f"cannot read the file: {error.strerror or error}", field="input"
        )
    except errors.InvalidArgument as error:
        return RowFailure(index, error.code, error.message, error.field, error.limit, error.value)
    if row.nbytes <= MAX_INPUT_BYTES:
        return row
    message = f"an input may have {MAX_INPUT_BYTES} bytes, this one has {row.nbytes}"
    limit, value = str(MAX_INPUT_BYTES), str(row.nbytes)
    return RowFailure(index, "RESOURCE_EXHAUSTED", message, "input", limit, value)


class Outcomes(Generic[T]):
    """The outcome of every row, whether it failed here or at the server."""

    def __init__(self) -> None:
        self._by_row: dict[int, T | RowFailure] = {}

    def parts(
        self, items: Iterable[InputLike], max_rows: int = MAX_MESSAGE_ROWS
    ) -> Iterator[list[Row]]:
        """Loads the inputs, and cuts those that can be read into requests."""
        return split(
            self._loaded(items),
            lambda row: row.nbytes,
            max_rows=max_rows,
            max_bytes=MAX_MESSAGE_BYTES,
        )

    def add(self, rows: Sequence[Row], outcomes: Sequence[T | RowFailure]) -> None:
        """Notes the outcomes of a part, in its order."""
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, RowFailure):
                self._by_row[row.index] = replace(outcome, row=row.index)
            else:
                self._by_row[row.index] = outcome

    def in_order(self) -> list[T | RowFailure]:
        """Returns the outcomes in the order of the inputs."""
        return [self._by_row[index] for index in range(len(self._by_row))]

    def _loaded(self, items: Iterable[InputLike]) -> Iterator[Row]:
        for index, item in enumerate(items):
            row = load(index, item)
            if isinstance(row, Row):
                yield row
            else:
                self._by_row[index] = row


def asked(items: Iterable[T]) -> Iterator[tuple[int, list[T]]]:
    """Cuts what is asked for into requests; with each comes the index of its first item."""
    first = 0
    for part in split(items, lambda _: 0, max_rows=MAX_ASKED, max_bytes=0):
        yield first, part
        first += len(part)


def failures(rows: Iterable[common_pb2.RowError], first: int) -> tuple[RowFailure, ...]:
    """Reads why rows failed of a request that begins with the row `first`."""
    return tuple(read(RowFailure, row, row=first + row.row) for row in rows)


def changed(total: Changes, now: Changes) -> Changes:
    """Adds up changes."""
    return Changes(
        total.changed + now.changed,
        total.failures + now.failures,
        total.corrections_replaced + now.corrections_replaced,
    )
