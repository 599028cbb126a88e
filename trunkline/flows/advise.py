"""Asking whether transfer pays: labelled inputs are streamed, and nothing is stored."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from trunkline import calls, errors, replies
from trunkline.calls import Pause, SendExamples
from trunkline.connection.retrying import StreamRetries
from trunkline.flows.chunking import MAX_MESSAGE_BYTES, MAX_MESSAGE_ROWS, split
from trunkline.flows.rows import Flow, Row, load
from trunkline.replies.advice import advice as read_advice
from trunkline.v1 import advice_pb2
from trunkline.values.advice import Advice
from trunkline.values.examples import NewExample, as_example
from trunkline.values.inputs import Input, InputLike, as_input, reads_file
from trunkline.values.outcomes import RowFailure, UploadProgress
from trunkline.values.sequences import check_label, examples_in, strings_in
from trunkline.values.unreadable import Unreadable
from trunkline.wire.building import build

WORK_SECONDS = 3600.0
"""What embedding and comparing may take after all is sent; the server has a limit of its own."""

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


def advise(
    tenant: str,
    items: Iterable[Labelled],
    backbones: Sequence[str],
    seed: int,
    on_progress: Callable[[UploadProgress], None] | None,
) -> Flow[Advice]:
    """Runs `Advise`. A stream that breaks is sent once more from its beginning."""
    first = build(
        advice_pb2.AdviseRequest,
        parent=str(calls.tenant_name(tenant)),
        backbones=strings_in(backbones, "backbones"),
        seed=seed,
    )
    refused: list[RowFailure] = []
    parts = list(
        split(
            _read(items, refused),
            lambda item: item.nbytes,
            max_rows=MAX_MESSAGE_ROWS,
            max_bytes=MAX_MESSAGE_BYTES,
        )
    )
    retries = StreamRetries()
    while True:
        try:
            reply = yield _stream(first, parts, len(refused), on_progress)
        except errors.TrunklineError as error:
            yield Pause(retries.pause(error))
        else:
            sent = [item for part in parts for item in part]
            failures = [
                replace(replies.failure(row), row=sent[row.row].index) for row in reply.errors
            ]
            failures = sorted([*refused, *failures], key=lambda failure: failure.row)
            return read_advice(reply.advice, failures, reply.failed + len(refused))


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


def _stream(
    first: advice_pb2.AdviseRequest,
    parts: Sequence[Sequence[_Item]],
    refused: int,
    on_progress: Callable[[UploadProgress], None] | None,
) -> SendExamples[advice_pb2.AdviseResponse]:
    # The first message says what is asked for, so that a mistake ends the stream at once.
    sizes = iter([(0, 0), *((len(part), sum(item.nbytes for item in part)) for part in parts)])
    rows, nbytes = refused, 0

    def messages() -> Iterator[advice_pb2.AdviseRequest]:
        yield first
        for part in parts:
            yield advice_pb2.AdviseRequest(examples=[item.message() for item in part])

    def sent() -> None:
        nonlocal rows, nbytes
        more_rows, more_bytes = next(sizes)
        rows, nbytes = rows + more_rows, nbytes + more_bytes
        if on_progress:
            on_progress(UploadProgress(rows, 0, nbytes))

    return SendExamples(
        messages(),
        len(parts) + 1,
        sent,
        lambda reply: reply,
        calls.ADVICE,
        "Advise",
        WORK_SECONDS,
    )
