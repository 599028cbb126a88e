"""An upload's rows, read part by part, and the messages of its streams."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from trunkline.labels import normalised
from trunkline.rows.chunking import (
    MAX_ASKED,
    MAX_HELD_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_ROWS,
    split,
)
from trunkline.rows.outcomes import Row, load
from trunkline.rows.upload_rows import Item, changes_told, named_once, settle
from trunkline.rows.upload_tally import Sent, Tally
from trunkline.v1 import heads_pb2
from trunkline.values.examples import ExampleLike, as_example
from trunkline.values.inputs import Digest, as_input, reads_file
from trunkline.values.outcomes import RowFailure
from trunkline.values.sequences import examples_in
from trunkline.wire.building import build, metadata_message
from trunkline.wire.reading import read


def parts_of(
    items: Iterable[ExampleLike], tally: Tally
) -> Iterator[tuple[list[Item], dict[str, str]]]:
    """Reads the rows, and yields parts that one question covers.

    With each come the labels by digest that parts before it gave. Rows that cannot be read, and
    those that repeat an input, are noted in `tally`.
    """
    given: dict[str, str] = {}
    named: set[tuple[str, str]] = set()
    for part in split(
        _read(items, tally),
        lambda item: item.held,
        max_rows=MAX_ASKED,
        max_bytes=MAX_HELD_BYTES,
    ):
        before = {item.digest: given[item.digest] for item in part if item.digest in given}
        settled, repeated = settle(part, given)
        tally.changed(repeated, Counter(row.change for row in repeated))
        yield named_once(settled, named), before


class Stream:
    """One stream: its messages, each of these `parts`, and how much was handed over (`done`)."""

    def __init__(self, parts: list[list[Item]], tally: Tally) -> None:
        self.parts = parts
        self.done = Sent()
        self._tally = tally
        self._waiting = iter(parts)

    def messages(
        self, empty: heads_pb2.AddExamplesRequest
    ) -> Iterator[heads_pb2.AddExamplesRequest]:
        """Makes the messages; `empty` is the request, but for its examples."""
        for part in self.parts:
            request = heads_pb2.AddExamplesRequest(examples=[item.message() for item in part])
            request.MergeFrom(empty)
            yield request

    def sent(self) -> None:
        """Notes that the next message was handed over."""
        self.done.add(next(self._waiting))

    def answered(self, reply: heads_pb2.AddExamplesResponse, given: dict[str, str]) -> list[Item]:
        """Counts the reply; gives back the items to send once more, this time with their bytes.

        `given` has the labels by digest that earlier streams of the upload gave;
        those of this one are added.
        """
        order = [item for part in self.parts for item in part]
        self._tally.changed(*changes_told(reply, order, given))
        given.update({item.digest: item.example.label for item in order if not item.doubtful})
        again: list[Item] = []
        failures: list[RowFailure] = []
        for error in reply.errors:
            item = order[error.row]
            if error.code == "NOT_FOUND" and item.known and not isinstance(item.input, Digest):
                again.append(item)
            else:
                failures.append(read(RowFailure, error, row=item.index))
        truncated = [order[row].index for row in reply.truncated]
        self._tally.answered(reply, self.done, failures, truncated, len(again))
        return again


def _read(items: Iterable[ExampleLike], tally: Tally) -> Iterator[Item]:
    for index, given in enumerate(examples_in(items)):
        example = as_example(given, index)
        item = example.input
        message = build(
            heads_pb2.NewExample,
            label=_label(example.label),
            weight=example.weight,
            held_out=example.held_out,
            group=example.group,
            external_id=example.external_id,
            metadata=metadata_message(example.metadata),
        )
        row = load(index, item)
        if isinstance(row, Row):
            source, held = (as_input(item), 0) if reads_file(item) else (row.input, row.nbytes)
            yield Item(index, index, source, message, row.input.digest(), row.nbytes, held)
        else:
            tally.refused(row)


def _label(label: str | None) -> str | None:
    # What is no text is for the message to refuse.
    return normalised(label) if isinstance(label, str) else label


def in_sending_order(items: list[Item], missing: set[str], whole: bool) -> list[list[Item]]:
    """Returns the items by message, in order, except that repeated inputs come last.

    A repeated input is sent as a digest, in a message after the one with its bytes, unless each is
    to be `whole`. The order among rows of one input stays, so that its last label wins.
    """
    first: list[Item] = []
    repeated: list[Item] = []
    seen: set[str] = set()
    for item in items:
        if item.digest in seen:
            repeated.append(replace(item, known=not whole))
        else:
            seen.add(item.digest)
            first.append(replace(item, known=item.digest not in missing))
    return [
        message
        for part in (first, repeated)
        for message in split(
            part,
            lambda item: item.sent_bytes,
            max_rows=MAX_MESSAGE_ROWS,
            max_bytes=MAX_MESSAGE_BYTES,
        )
    ]
