"""Uploading examples, so that no byte is sent twice and a broken upload continues where it stopped.

For every 5,000 rows: ask which digests the server has no embedding for, then stream the rows, with
the input's bytes where it is missing and the bare digest where it is known.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from trunkline import calls, errors, replies
from trunkline.calls import Pause, SendExamples
from trunkline.calls.examples import find_missing
from trunkline.connection.retrying import StreamRetries
from trunkline.flows.chunking import (
    MAX_ASKED,
    MAX_HELD_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_ROWS,
    split,
)
from trunkline.flows.rows import Flow, Row, load
from trunkline.flows.upload_rows import Item, changes_told, settle
from trunkline.labels import normalised
from trunkline.v1 import heads_pb2
from trunkline.values.examples import ExampleLike, as_example
from trunkline.values.inputs import Digest, as_input, reads_file
from trunkline.values.outcomes import (
    ChangedRow,
    RowFailure,
    Upload,
    UploadChange,
    UploadProgress,
)
from trunkline.values.sequences import examples_in
from trunkline.wire.building import build


@dataclass
class _Sent:
    """How much was handed over: rows, those among them that were known, bytes of inputs."""

    rows: int = 0
    known: int = 0
    nbytes: int = 0

    def add(self, items: Sequence[Item]) -> None:
        self.rows += len(items)
        self.known += sum(item.known for item in items)
        self.nbytes += sum(item.nbytes for item in items if not item.known)


class _Tally:
    """What has happened so far."""

    def __init__(self, on_progress: Callable[[UploadProgress], None] | None) -> None:
        self._on_progress = on_progress
        self._sent = _Sent()
        self._added = self._updated = self._unchanged = self._failed = self._interruptions = 0
        self._failures: list[RowFailure] = []
        self._truncated_count = 0
        self._truncated: list[int] = []
        self._changes: list[ChangedRow] = []
        self._counts: Counter[UploadChange] = Counter()

    def refused(self, failure: RowFailure) -> None:
        """Counts a row that could not even be sent."""
        self._sent.rows += 1
        self._failed += 1
        self._failures.append(failure)

    def under_way(self, stream: _Sent) -> None:
        """Reports what a stream has handed over until now."""
        if self._on_progress:
            done = self._sent
            rows, known = done.rows + stream.rows, done.known + stream.known
            self._on_progress(UploadProgress(rows, known, done.nbytes + stream.nbytes))

    def broken(self, stream: _Sent) -> None:
        """Counts the bytes of a stream that broke; its rows will be handed over once more."""
        self._sent.nbytes += stream.nbytes
        self._interruptions += stream.rows > 0

    def changed(self, changes: Sequence[ChangedRow], counts: Mapping[UploadChange, int]) -> None:
        """Notes changes, and how many there are of each kind."""
        self._changes += changes
        self._counts.update(counts)

    def answered(
        self,
        reply: heads_pb2.AddExamplesResponse,
        stream: _Sent,
        failures: Sequence[RowFailure],
        truncated: Sequence[int],
        again: int,
    ) -> None:
        """Counts a reply; `again` of its failed rows, all known, are handed over once more."""
        self._sent.rows += stream.rows - again
        self._sent.known += stream.known - again
        self._sent.nbytes += stream.nbytes
        self._added += reply.added
        self._updated += reply.updated
        self._unchanged += reply.unchanged
        self._failed += reply.failed - again
        self._failures += failures
        self._truncated_count += reply.truncated_count
        self._truncated += truncated

    def result(self) -> Upload:
        failed = {failure.row for failure in self._failures}
        self._counts.subtract(changed.change for changed in self._changes if changed.row in failed)
        changes = [changed for changed in self._changes if changed.row not in failed]
        return Upload(
            rows=self._sent.rows,
            added=self._added,
            updated=self._updated,
            unchanged=self._unchanged,
            failed=self._failed,
            failures=tuple(sorted(self._failures, key=lambda failure: failure.row)),
            known=self._sent.known,
            sent_bytes=self._sent.nbytes,
            truncated_count=self._truncated_count,
            truncated=tuple(sorted(self._truncated)),
            changes=tuple(sorted(changes, key=lambda changed: changed.row)),
            change_counts={change: count for change, count in self._counts.items() if count},
            interruptions=self._interruptions,
        )


def upload(
    head: str,
    items: Iterable[ExampleLike],
    *,
    ask: bool,
    overwrite: bool,
    on_progress: Callable[[UploadProgress], None] | None,
) -> Flow[Upload]:
    """Runs `AddExamples`; with `ask`, `FindMissingInputs` goes before it."""
    name = str(calls.head_name(head))
    empty = build(heads_pb2.AddExamplesRequest, head=name, overwrite=overwrite)
    tally = _Tally(on_progress)
    given: dict[str, str] = {}
    for part in split(
        _read(items, tally),
        lambda item: item.held,
        max_rows=MAX_ASKED,
        max_bytes=MAX_HELD_BYTES,
    ):
        before = {item.digest: given[item.digest] for item in part if item.digest in given}
        settled, repeated = settle(part, given)
        tally.changed(repeated, Counter(row.change for row in repeated))
        forgotten = yield from _store(empty, settled, before, tally, ask=ask)
        if forgotten:
            yield from _store(empty, forgotten, before, tally, ask=False, whole=True)
    return tally.result()


def _read(items: Iterable[ExampleLike], tally: _Tally) -> Iterator[Item]:
    for index, given in enumerate(examples_in(items)):
        example = as_example(given, index)
        item = example.input
        message = build(
            heads_pb2.NewExample,
            label=_label(example.label),
            weight=example.weight,
            held_out=example.held_out,
            group=example.group,
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


def _store(
    empty: heads_pb2.AddExamplesRequest,
    items: list[Item],
    given: Mapping[str, str],
    tally: _Tally,
    *,
    ask: bool,
    whole: bool = False,
) -> Flow[list[Item]]:
    """Stores the items. Gives back those whose digest the server does not know.

    It has forgotten it meanwhile, or an earlier row with the same bytes was refused.

    Args:
        empty: the request, but for its examples.
        items: a part of the upload.
        given: labels by digest that parts before it gave.
        tally: counts what became of them.
        ask: whether to ask first what the server knows.
        whole: whether rows that repeat an input have its bytes, too, so that none is given back.
    """
    retries = StreamRetries()
    fewest = len(items) + 1
    while True:
        digests = list(dict.fromkeys(item.digest for item in items))
        missing = (yield find_missing(empty.head, digests)) if ask else set(digests)
        if len(missing) < fewest:
            fewest = len(missing)
            retries.reset()
        ordered = _in_sending_order(items, missing, whole=whole)
        stream = _Sent()
        try:
            reply = yield _stream(empty, ordered, tally, stream)
        except errors.TrunklineError as error:
            tally.broken(stream)
            yield Pause(retries.pause(error))
        else:
            order = [item for part in ordered for item in part]
            tally.changed(*changes_told(reply, order, given))
            return _count_reply(reply, order, stream, tally)


def _in_sending_order(items: list[Item], missing: set[str], *, whole: bool) -> list[list[Item]]:
    """Returns the items by message, in order, except that repeated inputs come last.

    A repeated input is sent as a digest, unless it is to be `whole`, in a message after the one
    with its bytes. The order among rows of one input stays, so that its last label wins.
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


def _stream(
    empty: heads_pb2.AddExamplesRequest, ordered: list[list[Item]], tally: _Tally, stream: _Sent
) -> SendExamples[heads_pb2.AddExamplesResponse]:
    def messages() -> Iterator[heads_pb2.AddExamplesRequest]:
        for part in ordered:
            request = heads_pb2.AddExamplesRequest(examples=[item.message() for item in part])
            request.MergeFrom(empty)
            yield request

    parts = iter(ordered)

    def sent() -> None:
        stream.add(next(parts))
        tally.under_way(stream)

    return SendExamples(messages(), len(ordered), sent, lambda reply: reply)


def _count_reply(
    reply: heads_pb2.AddExamplesResponse, order: list[Item], stream: _Sent, tally: _Tally
) -> list[Item]:
    """Counts the reply; gives back the items to send once more, this time with their bytes."""
    again: list[Item] = []
    failures: list[RowFailure] = []
    for error in reply.errors:
        item = order[error.row]
        if error.code == "NOT_FOUND" and item.known and not isinstance(item.input, Digest):
            again.append(item)
        else:
            failures.append(replace(replies.failure(error), row=item.index))
    truncated = [order[row].index for row in reply.truncated]
    tally.answered(reply, stream, failures, truncated, len(again))
    return again
