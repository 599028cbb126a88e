"""From messages of the wire to the values the client gives out."""

from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.errors import DataLoss
from trunkline.tensors import unpack
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2, prediction_pb2
from trunkline.values import (
    Backbone,
    Candidate,
    ClassReport,
    Embedding,
    Estimate,
    Example,
    Head,
    HeadSpec,
    Prediction,
    Receipt,
    Report,
    RowFailure,
    Training,
    TrainingState,
    Version,
)

T = TypeVar("T")

_STATES = {
    heads_pb2.TRAINING_STATE_QUEUED: TrainingState.QUEUED,
    heads_pb2.TRAINING_STATE_RUNNING: TrainingState.RUNNING,
    heads_pb2.TRAINING_STATE_SUCCEEDED: TrainingState.SUCCEEDED,
    heads_pb2.TRAINING_STATE_FAILED: TrainingState.FAILED,
    heads_pb2.TRAINING_STATE_CANCELLED: TrainingState.CANCELLED,
}


def backbone(message: extraction_pb2.Backbone) -> Backbone:
    """Reads a backbone."""
    return Backbone(
        name=message.name,
        modality=message.modality,
        dim=message.dim,
        fingerprint=message.fingerprint,
        engine=message.engine,
        device=message.device,
        ready=message.ready,
    )


def spec(message: heads_pb2.HeadSpec) -> HeadSpec:
    """Reads a head's spec."""
    l2 = message.l2 if message.HasField("l2") else None
    return HeadSpec(family=message.family or "auto", seed=message.seed, l2=l2)


def head(message: heads_pb2.Head) -> Head:
    """Reads a head."""
    return Head(
        name=message.name,
        uid=message.uid,
        backbone=message.backbone,
        fingerprint=message.fingerprint,
        spec=spec(message.spec),
        keep_inputs=message.keep_inputs,
        active_version=message.active_version or None,
        labels=tuple(message.labels),
        example_count=message.example_count,
        labelled_count=message.labelled_count,
        feedback_count=message.feedback_count,
        create_time=_time(message.create_time),
        training=message.training or None,
    )


def version(message: heads_pb2.HeadVersion) -> Version:
    """Reads a version."""
    return Version(
        name=message.name,
        version=message.version,
        active=message.active,
        source=message.source,
        family=message.family,
        spec=spec(message.spec),
        labels=tuple(message.labels),
        backbone=message.backbone,
        fingerprint=message.fingerprint,
        example_count=message.example_count,
        create_time=_time(message.create_time),
    )


def example(message: heads_pb2.Example) -> Example:
    """Reads a stored example."""
    return Example(
        digest=message.digest,
        label=message.label if message.HasField("label") else None,
        kind=message.kind,
        source=message.source,
        has_input=message.has_input,
        create_time=_time(message.create_time),
    )


def training(message: heads_pb2.Training) -> Training:
    """Reads a training. Raises `DataLoss` for a state that this client does not know."""
    state = _STATES.get(message.state)
    if state is None:
        raise DataLoss(f"unknown state of a training: {message.state}")
    return Training(
        name=message.name,
        state=state,
        phase=message.phase,
        progress=message.progress,
        version=message.version or None,
        error_code=message.error_code,
        error_message=message.error_message,
        create_time=_time(message.create_time),
        end_time=_time(message.end_time) if message.HasField("end_time") else None,
    )


def report(message: heads_pb2.HeadReport) -> Report:
    """Reads the report of a version."""
    return Report(
        head=message.head,
        version=message.version,
        family=message.family,
        spec=spec(message.spec),
        backbone=message.backbone,
        fingerprint=message.fingerprint,
        example_count=message.example_count,
        classes=tuple(ClassReport(row.label, row.examples) for row in message.classes),
        estimate=_estimate(message.estimate) if message.HasField("estimate") else None,
        l2=message.l2 if message.HasField("l2") else None,
        temperature=message.temperature,
        train_seconds=message.train_seconds,
        candidates=tuple(
            Candidate(
                row.family,
                row.l2,
                _estimate(row.estimate) if row.HasField("estimate") else None,
                row.chosen,
            )
            for row in message.candidates
        ),
    )


def failure(message: common_pb2.RowError) -> RowFailure:
    """Reads why a row failed."""
    return RowFailure(
        row=message.row,
        code=message.code,
        message=message.message,
        field=message.field,
        limit=message.limit,
        value=message.value,
    )


def predictions(reply: prediction_pb2.PredictResponse, count: int) -> list[Prediction | RowFailure]:
    """The outcome of each of `count` rows, in order. Raises `DataLoss` if a row has none."""
    found: dict[int, Prediction] = {}
    for group in reply.predictions:
        found |= _group(group, reply.digests)
    return _in_order(found, reply.errors, count)


def embeddings(reply: extraction_pb2.EmbedResponse, count: int) -> list[Embedding | RowFailure]:
    """The outcome of each of `count` rows, in order. Raises `DataLoss` if a row has none."""
    values = unpack(reply.embeddings, "float32", dimensions=2)
    rows, dim = reply.embeddings.shape
    found: dict[int, Embedding] = {}
    for row in range(min(rows, len(reply.digests))):
        vector: array[float] = values[row * dim : (row + 1) * dim]
        found[row] = Embedding(vector, reply.digests[row], reply.backbone, reply.fingerprint)
    return _in_order(found, reply.errors, count)


def receipts(reply: prediction_pb2.SendFeedbackResponse, count: int) -> list[Receipt | RowFailure]:
    """The outcome of each of `count` rows, in order. Raises `DataLoss` if a row has none."""
    columns = zip(reply.ids, reply.digests, reply.duplicates, strict=False)
    found = {row: Receipt(*values) for row, values in enumerate(columns)}
    return _in_order(found, reply.errors, count)


def _group(group: prediction_pb2.HeadPredictions, digests: Sequence[str]) -> dict[int, Prediction]:
    """The predictions of one head by row."""
    indices = unpack(group.indices, "uint32", dimensions=2)
    probabilities = unpack(group.probabilities, "float32", dimensions=2)
    rows, k = group.indices.shape
    if list(group.probabilities.shape) != [rows, k] or rows != len(group.rows) or k == 0:
        raise DataLoss("indices, probabilities and rows of the predictions differ in shape")
    found: dict[int, Prediction] = {}
    for position, row in enumerate(group.rows):
        part = slice(position * k, (position + 1) * k)
        try:
            best = [group.labels[index] for index in indices[part]]
            digest = digests[row]
        except IndexError as error:
            raise DataLoss(f"row {row} of the predictions points to no label or digest") from error
        scores = dict(zip(best, probabilities[part], strict=True))
        found[row] = Prediction(best[0], scores[best[0]], scores, digest, group.head, group.version)
    return found


def _in_order(
    found: dict[int, T], errors: Iterable[common_pb2.RowError], count: int
) -> list[T | RowFailure]:
    outcomes: dict[int, T | RowFailure] = {**found, **{row.row: failure(row) for row in errors}}
    if missing := [row for row in range(count) if row not in outcomes]:
        raise DataLoss(f"the reply has {count - len(missing)} of {count} rows")
    return [outcomes[row] for row in range(count)]


def _estimate(message: heads_pb2.Estimate) -> Estimate:
    return Estimate(
        method=message.method,
        accuracy=message.accuracy,
        accuracy_low=message.accuracy_low,
        accuracy_high=message.accuracy_high,
        log_loss=message.log_loss,
    )


def _time(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
