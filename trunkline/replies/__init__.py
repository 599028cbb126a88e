"""From messages of the wire to the values the client gives out."""

from array import array
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from typing import TypeVar

from trunkline.errors import DataLoss
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2, prediction_pb2
from trunkline.values.outcomes import (
    Decision,
    Embedding,
    Neighbour,
    Prediction,
    Receipt,
    RowFailure,
    UploadChange,
)
from trunkline.wire.reading import member, read
from trunkline.wire.tensors import unpack

T = TypeVar("T")


def predictions(reply: prediction_pb2.PredictResponse, count: int) -> list[Prediction | RowFailure]:
    """Reads the outcome of each of `count` rows, in order. Raises `DataLoss` if a row has none."""
    found: dict[int, Prediction] = {}
    truncated = set(reply.truncated)
    for group in reply.predictions:
        found |= _group(group, reply.digests, truncated)
    return _in_order(found, reply.errors, count)


def classified(reply: prediction_pb2.ClassifyResponse, count: int) -> list[Prediction | RowFailure]:
    """Reads the outcome of each of `count` rows, in order. Raises `DataLoss` if a row has none."""
    found = {}
    if reply.predictions.rows:
        found = _group(reply.predictions, reply.digests, set(reply.truncated))
    return _in_order(found, reply.errors, count)


def embeddings(reply: extraction_pb2.EmbedResponse, count: int) -> list[Embedding | RowFailure]:
    """Reads the outcome of each of `count` rows, in order. Raises `DataLoss` if a row has none."""
    values = unpack(reply.embeddings, "float32", dimensions=2)
    rows, dim = reply.embeddings.shape
    found: dict[int, Embedding] = {}
    truncated = set(reply.truncated)
    for row in range(min(rows, len(reply.digests))):
        vector: array[float] = values[row * dim : (row + 1) * dim]
        found[row] = Embedding(
            vector, reply.digests[row], reply.backbone, reply.fingerprint, row in truncated
        )
    return _in_order(found, reply.errors, count)


def receipts(reply: prediction_pb2.SendFeedbackResponse, count: int) -> list[Receipt | RowFailure]:
    """Reads the outcome of each of `count` rows, in order. Raises `DataLoss` if a row has none."""
    columns = zip(reply.ids, reply.digests, reply.duplicates, strict=False)
    truncated = set(reply.truncated)
    found = {row: Receipt(*values, row in truncated) for row, values in enumerate(columns)}
    for row, label in enumerate(reply.previous_labels):
        if label and row in found:
            found[row] = replace(found[row], previous_label=label)
    return _in_order(found, reply.errors, count)


def upload_change(number: int) -> UploadChange:
    """Reads what a row of an upload changed. Raises `DataLoss` if this client does not know it."""
    return member(UploadChange, heads_pb2.UploadChange.DESCRIPTOR, number)


def _group(
    group: prediction_pb2.HeadPredictions, digests: Sequence[str], truncated: Set[int]
) -> dict[int, Prediction]:
    """Reads the predictions of one head by row."""
    indices = unpack(group.indices, "uint32", dimensions=2)
    probabilities = unpack(group.probabilities, "float32", dimensions=2)
    rows, k = group.indices.shape
    if list(group.probabilities.shape) != [rows, k] or rows != len(group.rows) or k == 0:
        raise DataLoss("indices, probabilities and rows of the predictions differ in shape")
    sets = _sets(group) or [None] * rows
    novelty = _novelty(group) or [None] * rows
    neighbours = _neighbours(group) or [()] * rows
    decisions = _decisions(group) or [None] * rows
    found: dict[int, Prediction] = {}
    for position, row in enumerate(group.rows):
        part = slice(position * k, (position + 1) * k)
        try:
            best = [group.labels[index] for index in indices[part]]
            digest = digests[row]
        except IndexError as error:
            raise DataLoss(f"row {row} of the predictions points to no label or digest") from error
        novel = bool(group.novel) and group.novel[position]
        abstained = novel and group.abstains
        scores = {} if abstained else dict(zip(best, probabilities[part], strict=True))
        found[row] = Prediction(
            label=None if abstained else best[0],
            probability=0.0 if abstained else scores[best[0]],
            scores=scores,
            digest=digest,
            head=group.head,
            version=group.version,
            prediction_set=None if abstained else sets[position],
            novelty=novelty[position],
            novel=novel,
            abstained=abstained,
            live=group.live,
            truncated=row in truncated,
            neighbours=neighbours[position],
            decision=decisions[position],
            described=group.described,
        )
    return found


def _sets(group: prediction_pb2.HeadPredictions) -> Sequence[tuple[str, ...] | None]:
    """Reads the set of labels of each row; empty if none was asked for."""
    if not group.HasField("set_sizes"):
        return []
    sizes = unpack(group.set_sizes, "uint32", dimensions=1)
    indices = unpack(group.set_indices, "uint32", dimensions=1)
    if len(sizes) != len(group.rows) or sum(sizes) != len(indices):
        raise DataLoss("sizes and members of the prediction sets differ in number")
    members = iter(indices)
    try:
        return [tuple(group.labels[next(members)] for _ in range(size)) for size in sizes]
    except IndexError as error:
        raise DataLoss("a prediction set points to no label") from error


def _decisions(group: prediction_pb2.HeadPredictions) -> Sequence[Decision | None]:
    """Reads the decision on each row; empty of a head that decides nothing."""
    if len(group.decisions) not in (0, len(group.rows)):
        raise DataLoss("decisions and rows of the predictions differ in number")
    enum = prediction_pb2.Decision.DESCRIPTOR
    return [member(Decision, enum, number) for number in group.decisions]


def _novelty(group: prediction_pb2.HeadPredictions) -> Sequence[float | None]:
    """Reads the novelty of each row; empty of a head that does not look for it."""
    if not group.HasField("novelty"):
        return []
    values = unpack(group.novelty, "float32", dimensions=1)
    if not len(values) == len(group.novel) == len(group.rows):
        raise DataLoss("novelty and rows of the predictions differ in number")
    return values


def _neighbours(group: prediction_pb2.HeadPredictions) -> list[tuple[Neighbour, ...]]:
    """Reads the nearest examples of each row; empty if none were asked for."""
    if len(group.neighbours) not in (0, len(group.rows)):
        raise DataLoss("neighbours and rows of the predictions differ in number")
    return [tuple(read(Neighbour, one) for one in row.neighbours) for row in group.neighbours]


def _in_order(
    found: dict[int, T], errors: Iterable[common_pb2.RowError], count: int
) -> list[T | RowFailure]:
    failed = {row.row: read(RowFailure, row) for row in errors}
    outcomes: dict[int, T | RowFailure] = {**found, **failed}
    if missing := [row for row in range(count) if row not in outcomes]:
        raise DataLoss(f"the reply has {count - len(missing)} of {count} rows")
    return [outcomes[row] for row in range(count)]
