"""The report of a version, as it comes over the wire."""

from trunkline.errors import DataLoss
from trunkline.replies.heads import spec
from trunkline.v1 import heads_pb2
from trunkline.values.reports import Evaluation, Report
from trunkline.wire.reading import read
from trunkline.wire.tensors import unpack


def report(message: heads_pb2.HeadReport) -> Report:
    """Reads the report of a version. Raises `DataLoss` if it contradicts itself."""
    has = message.HasField
    return read(
        Report,
        message,
        spec=spec(message.spec),
        l2=message.l2 or None,
        evaluation=_evaluation(message.evaluation) if has("evaluation") else None,
        test=_evaluation(message.test) if has("test") else None,
    )


def _evaluation(message: heads_pb2.Evaluation) -> Evaluation:
    classes = len(message.classes)
    counts = unpack(message.confusion, "uint32", dimensions=2).tolist()
    if list(message.confusion.shape) != [classes, classes]:
        raise DataLoss(f"the confusion matrix of {classes} classes has another shape")
    rows = (tuple(counts[row * classes : (row + 1) * classes]) for row in range(classes))
    return read(Evaluation, message, confusion=tuple(rows))
