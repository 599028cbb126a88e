"""Labels of a head, as they come over the wire."""

from trunkline.replies import heads as head_replies
from trunkline.v1 import heads_pb2
from trunkline.values.labels import ChangedLabels, DescribedLabels, LabelCount
from trunkline.values.outcomes import Training
from trunkline.wire.reading import read


def labels(message: heads_pb2.ListLabelsResponse) -> tuple[LabelCount, ...]:
    """Reads the counts of all labels."""
    return tuple(read(LabelCount, row) for row in message.labels)


def renamed(message: heads_pb2.RenameLabelResponse) -> ChangedLabels:
    """Reads what became of a label that was renamed."""
    version = head_replies.version(message.version) if message.HasField("version") else None
    return read(
        ChangedLabels,
        message.changes,
        head=head_replies.head(message.head),
        version=version,
        training=None,
        removed_versions=tuple(message.removed_versions),
    )


def changed(
    message: heads_pb2.MergeLabelsResponse | heads_pb2.DeleteLabelResponse,
) -> ChangedLabels:
    """Reads what became of labels that were merged, or of one that was deleted."""
    training = read(Training, message.training) if message.HasField("training") else None
    return read(
        ChangedLabels,
        message.changes,
        head=head_replies.head(message.head),
        version=None,
        training=training,
        removed_versions=(),
    )


def described(message: heads_pb2.DescribeLabelsResponse) -> DescribedLabels:
    """Reads what became of a head whose labels were described."""
    training = read(Training, message.training) if message.HasField("training") else None
    return DescribedLabels(head_replies.head(message.head), training, tuple(message.truncated))
