"""Labelled inputs that are sent and not stored, as messages; and replies read with their rows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from trunkline import errors
from trunkline.replies.advice import advice as read_advice
from trunkline.rows.chunking import MAX_MESSAGE_BYTES, MAX_MESSAGE_ROWS, split
from trunkline.rows.outcomes import Row, load
from trunkline.v1 import advice_pb2, common_pb2
from trunkline.values.advice import Advice
from trunkline.values.examples import NewExample, as_example
from trunkline.values.inputs import Input, InputLike, as_input, reads_file
from trunkline.values.outcomes import RowFailure, UploadProgress
from trunkline.values.sequences import check_label, examples_in
from trunkline.values.unreadable import Unreadable
from trunkline.wire.building import build
from trunkline.wire.reading import read

Labelled = NewExample | tuple[InputLike, str]
"""An input and its label; as a `NewExample` also its group. Weights play no part."""


@dataclass(frozen=True)
class _Item:
    """A row to be sent. A file's bytes are read again when they are sent, and not held.

    `example` is the row's message without its input.
    """

    index: int
    input: Input
    example: advice_pb2.LabelledInput
    nbytes: int

    def message(self) -> advice_pb2.LabelledInput:
        try:
            message = advice_pb2.LabelledInput(input=self.input.message())
        except OSError as error:  # it could be read when it was measured
            raise errors.Aborted(
                f"a file changed while it was sent: {error}", field="input"
            ) from error
        message.MergeFrom(self.example)
        return message


class LabelledRows:
    """The rows of a request, all of them read and measured, in `parts` of a message."""

    def __init__(self, items: Iterable[Labelled]) -> None:
        self._refused: list[RowFailure] = []
        self.parts = list(
            split(
                _read(items, self._refused),
                lambda item: item.nbytes,
                max_rows=MAX_MESSAGE_ROWS,
                max_bytes=MAX_MESSAGE_BYTES,
            )
        )

    def messages(self, first: advice_pb2.AdviseRequest) -> Iterator[advice_pb2.AdviseRequest]:
        """Makes the messages. `first` says what is asked for: a mistake ends the stream at once."""
        yield first
        for part in self.parts:
            yield advice_pb2.AdviseRequest(examples=[item.message() for item in part])

    def sent(self, on_progress: Callable[[UploadProgress], None] | None) -> Callable[[], None]:
        """Returns what to call after each message, for `on_progress` to be told."""
        sizes = iter(
            [(0, 0), *((len(part), sum(row.nbytes for row in part)) for part in self.parts)]
        )
        rows, nbytes = len(self._refused), 0

        def sent() -> None:
            nonlocal rows, nbytes
            more_rows, more_bytes = next(sizes)
            rows, nbytes = rows + more_rows, nbytes + more_bytes
            if on_progress:
                on_progress(UploadProgress(rows, 0, nbytes))

        return sent

    def advice(self, reply: advice_pb2.AdviseResponse) -> Advice:
        """Reads the advice; rows that failed, here or there, are named by their place."""
        failures = self.failures(reply.errors)
        return read_advice(reply.advice, failures, reply.failed + len(self._refused))

    def at_once(self) -> list[advice_pb2.LabelledInput]:
        """Makes the messages of all rows that could be read."""
        return [item.message() for part in self.parts for item in part]

    def failures(self, errors: Iterable[common_pb2.RowError]) -> list[RowFailure]:
        """Reads why rows failed, here or there; they are named by their place."""
        places = self._places()
        failures = [read(RowFailure, row, row=places[row.row]) for row in errors]
        return sorted([*self._refused, *failures], key=lambda failure: failure.row)

    def places(self, rows: Iterable[int]) -> tuple[int, ...]:
        """Returns the places of rows that were sent."""
        places = self._places()
        return tuple(places[row] for row in rows)

    def _places(self) -> list[int]:
        return [item.index for part in self.parts for item in part]


def _read(items: Iterable[Labelled], refused: list[RowFailure]) -> Iterator[_Item]:
    """Reads and measures the rows; those that cannot be read are refused."""
    for index, labelled in enumerate(examples_in(items)):
        new = as_example(labelled, index)
        given = new.input
        if not isinstance(given, Unreadable):
            check_label(new.label, index)
        example = build(advice_pb2.LabelledInput, label=new.label or "", group=new.group)
        row = load(index, given)
        if isinstance(row, Row):
            source = as_input(given) if reads_file(given) else row.input
            yield _Item(index, source, example, row.nbytes)
        else:
            refused.append(row)
