"""Operations that take several calls, written once for both clients.

A flow is a generator: it yields the next step, is sent its outcome (or thrown its error), and
returns the result. It does no network I/O of its own, so `Client` and `AsyncClient` differ only in
how they run a step.
"""

import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from trunkline import calls, errors, replies
from trunkline.calls import Call, Pause, SendExamples, WatchTraining
from trunkline.calls import examples as example_calls
from trunkline.calls import heads as head_calls
from trunkline.flows.chunking import (
    MAX_ASKED,
    MAX_INPUT_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_ROWS,
    split,
)
from trunkline.v1 import extraction_pb2, prediction_pb2
from trunkline.values.foreign import type_of
from trunkline.values.heads import Version
from trunkline.values.inputs import Input, InputLike, as_input
from trunkline.values.outcomes import Changes, Embedding, Forgotten, Prediction, Receipt, RowFailure
from trunkline.values.sequences import check_label, file_bytes, inputs_in, pairs_in, strings_in
from trunkline.wire.building import build
from trunkline.wire.weights import metadata

T = TypeVar("T")

Step = Call[Any] | SendExamples[Any] | WatchTraining | Pause
Flow = Generator[Step, Any, T]


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
        return RowFailure(index, code, f"cannot read the file: {error}", field="input")
    except errors.InvalidArgument as error:
        return RowFailure(index, error.code, error.message, error.field, error.limit, error.value)
    if row.nbytes <= MAX_INPUT_BYTES:
        return row
    message = f"an input may have {MAX_INPUT_BYTES} bytes, this one has {row.nbytes}"
    limit, value = str(MAX_INPUT_BYTES), str(row.nbytes)
    return RowFailure(index, "RESOURCE_EXHAUSTED", message, "input", limit, value)


def predict(
    head: str,
    inputs: Iterable[InputLike],
    top_k: int,
    version: int | None,
    conformal_level: float | None,
    average_views: int | None,
) -> Flow[list[Prediction | RowFailure]]:
    """Runs `Predict` in requests of bounded size: the views of each input count as inputs."""
    inputs = inputs_in(inputs)
    empty = build(
        prediction_pb2.PredictRequest,
        head=str(calls.head_name(head)),
        top_k=top_k,
        version=version or 0,
        conformal_level=conformal_level,
        average_views=average_views,
    )

    def call(rows: list[Row]) -> Call[list[Prediction | RowFailure]]:
        request = prediction_pb2.PredictRequest(inputs=[row.input.message() for row in rows])
        request.MergeFrom(empty)
        count = len(rows)
        return Call(
            calls.PREDICTION, "Predict", request, lambda reply: replies.predictions(reply, count)
        )

    most = max(1, MAX_MESSAGE_ROWS // (1 + empty.average_views))
    return (yield from _row_by_row(inputs, call, max_rows=most))


def embed(
    tenant: str, inputs: Iterable[InputLike], backbone: str
) -> Flow[list[Embedding | RowFailure]]:
    """Runs `Embed` in requests of bounded size."""
    inputs = inputs_in(inputs)
    name = str(calls.tenant_name(tenant))

    def call(rows: list[Row]) -> Call[list[Embedding | RowFailure]]:
        request = build(
            extraction_pb2.EmbedRequest,
            tenant=name,
            backbone=backbone,
            inputs=[row.input.message() for row in rows],
        )
        count = len(rows)
        return Call(
            calls.EXTRACTION, "Embed", request, lambda reply: replies.embeddings(reply, count)
        )

    return (yield from _row_by_row(inputs, call))


def feedback(head: str, items: Iterable[tuple[InputLike, str]]) -> Flow[list[Receipt | RowFailure]]:
    """Runs `SendFeedback` in requests of bounded size; ids made here make repeating harmless."""
    name = str(calls.head_name(head))
    pairs = list(pairs_in(items, "feedback"))
    for index, (_, label) in enumerate(pairs):
        check_label(label, index)
    # All of them before anything is sent, so that a label that is none leaves nothing stored.
    records = [
        build(prediction_pb2.Feedback, id=str(uuid.uuid4()), label=label) for _, label in pairs
    ]

    def call(rows: list[Row]) -> Call[list[Receipt | RowFailure]]:
        request = build(
            prediction_pb2.SendFeedbackRequest,
            head=name,
            feedback=[
                prediction_pb2.Feedback(id=record.id, input=row.input.message(), label=record.label)
                for row in rows
                for record in (records[row.index],)
            ],
        )
        count = len(rows)
        return Call(
            calls.PREDICTION, "SendFeedback", request, lambda reply: replies.receipts(reply, count)
        )

    return (yield from _row_by_row((item for item, _ in pairs), call))


def update_examples(head: str, labels: Mapping[str, str | None]) -> Flow[Changes]:
    """Runs `UpdateExamples` in requests of bounded size."""
    if not isinstance(labels, Mapping):
        raise errors.InvalidType(
            f"labels must be a dict of digest to label, is {type_of(labels)}",
            field="labels",
            limit="{digest: label}",
            value=type(labels).__name__,
        )
    items = list(labels.items())
    return (
        yield from _changes(items, lambda part: example_calls.update_examples(head, dict(part)))
    )


def delete_examples(head: str, digests: Iterable[str]) -> Flow[Changes]:
    """Runs `DeleteExamples` in requests of bounded size."""
    digests = strings_in(digests, "digests")
    return (yield from _changes(digests, lambda part: example_calls.delete_examples(head, part)))


def forget_examples(head: str, digests: Iterable[str]) -> Flow[Forgotten]:
    """Runs `ForgetExamples` in requests of bounded size."""
    digests = strings_in(digests, "digests")
    total = Forgotten(0, (), (), None, ())
    offset = 0
    for part in split(digests, lambda _: 0, max_rows=MAX_ASKED, max_bytes=0):
        now: Forgotten = yield example_calls.forget_examples(head, part)
        failures = tuple(replace(row, row=row.row + offset) for row in now.failures)
        total = Forgotten(
            forgotten=total.forgotten + now.forgotten,
            failures=total.failures + failures,
            deleted_versions=total.deleted_versions + now.deleted_versions,
            version=now.version,
            held_by=tuple(sorted({*total.held_by, *now.held_by})),
        )
        offset += len(part)
    return total


def release_feedback(head: str, ids: Iterable[str] | None) -> Flow[Changes]:
    """Runs `ReleaseFeedback` in requests of bounded size; None for all of it."""
    if ids is None:
        released: Changes = yield example_calls.release_feedback(head, (), everything=True)
        return released
    return (
        yield from _changes(
            strings_in(ids, "ids"),
            lambda part: example_calls.release_feedback(head, part, everything=False),
        )
    )


def import_head(
    head: str,
    safetensors: bytes,
    backbone: str,
    fingerprint: str | None,
    labels: Sequence[str],
    activate: bool,
) -> Flow[Version]:
    """Runs `ImportHead`; the fingerprint is the file's own, or else the loaded backbone's."""
    labels = strings_in(labels, "labels")
    safetensors = file_bytes(safetensors, "safetensors")
    bound = fingerprint or metadata(safetensors).get("fingerprint", "")
    if not bound:
        loaded = yield calls.list_backbones()
        bound = next((row.fingerprint for row in loaded if row.name == backbone), "")
    version: Version = yield head_calls.import_head(
        head, safetensors, backbone, bound, labels, activate
    )
    return version


def _row_by_row(
    items: Iterable[InputLike],
    call: Callable[[list[Row]], Call[list[T | RowFailure]]],
    *,
    max_rows: int = MAX_MESSAGE_ROWS,
) -> Flow[list[T | RowFailure]]:
    """Returns the outcome of every row, in order, whether it failed here or at the server."""
    outcomes: dict[int, T | RowFailure] = {}

    def loaded() -> Iterator[Row]:
        for index, item in enumerate(items):
            row = load(index, item)
            if isinstance(row, Row):
                yield row
            else:
                outcomes[index] = row

    for rows in split(
        loaded(), lambda row: row.nbytes, max_rows=max_rows, max_bytes=MAX_MESSAGE_BYTES
    ):
        reply: list[T | RowFailure] = yield call(rows)
        for row, outcome in zip(rows, reply, strict=True):
            if isinstance(outcome, RowFailure):
                outcomes[row.index] = replace(outcome, row=row.index)
            else:
                outcomes[row.index] = outcome
    return [outcomes[index] for index in range(len(outcomes))]


def _changes(items: Iterable[T], call: Callable[[list[T]], Call[Changes]]) -> Flow[Changes]:
    total, offset = Changes(0, ()), 0
    for part in split(items, lambda _: 0, max_rows=MAX_ASKED, max_bytes=0):
        now: Changes = yield call(part)
        failures = tuple(replace(failure, row=failure.row + offset) for failure in now.failures)
        total = Changes(
            total.changed + now.changed,
            total.failures + failures,
            total.corrections_replaced + now.corrections_replaced,
        )
        offset += len(part)
    return total
