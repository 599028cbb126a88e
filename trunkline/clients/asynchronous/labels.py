"""Labels of heads."""

from collections.abc import Mapping, Sequence

from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.replies import labels as replies
from trunkline.v1 import heads_pb2
from trunkline.values.labels import ChangedLabels, DescribedLabels, LabelCount
from trunkline.values.sequences import strings_in
from trunkline.wire.building import build
from trunkline.wire.names import head_name


class AsyncLabels(AsyncTransport):
    """The calls about labels."""

    async def labels(self, head: str, *, timeout: float | None = None) -> tuple[LabelCount, ...]:
        """Counts what is stored of a head by label."""
        request = build(heads_pb2.ListLabelsRequest, head=str(head_name(head)))
        return replies.labels(await self._call(self._heads.ListLabels, request, timeout))

    async def rename_label(
        self, head: str, label: str, new_label: str, *, timeout: float | None = None
    ) -> ChangedLabels:
        """Changes a label's name in all that is stored of the head.

        Answers have the new name when this returns: from a version that differs from the one before
        in that name alone. Earlier versions keep the old name. Raises `AlreadyExists` if the head
        has the new label, and `FailedPrecondition` while it is trained.
        """
        request = build(
            heads_pb2.RenameLabelRequest,
            head=str(head_name(head)),
            label=label,
            new_label=new_label,
        )
        reply = await self._call(self._heads.RenameLabel, request, timeout, idempotent=False)
        return replies.renamed(reply)

    async def merge_labels(
        self, head: str, labels: Sequence[str], into: str, *, timeout: float | None = None
    ) -> ChangedLabels:
        """Makes labels one, a new one or one of the head's, in all that is stored of the head.

        The training that this starts is in the result; `train` joins it. Until it is done the
        active version answers with the labels that it has.
        """
        request = build(
            heads_pb2.MergeLabelsRequest,
            head=str(head_name(head)),
            labels=strings_in(labels, "labels"),
            into=into,
        )
        reply = await self._call(self._heads.MergeLabels, request, timeout, idempotent=False)
        return replies.changed(reply)

    async def describe_labels(
        self, head: str, descriptions: Mapping[str, str], *, timeout: float | None = None
    ) -> DescribedLabels:
        """Says what labels mean, in the place of what was said before; for heads of texts.

        A head answers by the descriptions until it has examples: each stands for its label, by name
        where it is empty, until the label has two others. The training that this starts is in the
        result; `train` joins it. `Head.label_descriptions` has what is said now.
        """
        request = build(
            heads_pb2.DescribeLabelsRequest,
            head=str(head_name(head)),
            descriptions=dict(descriptions),
        )
        reply = await self._call(self._heads.DescribeLabels, request, timeout, idempotent=False)
        return replies.described(reply)

    async def delete_label(
        self, head: str, label: str, *, delete_examples: bool, timeout: float | None = None
    ) -> ChangedLabels:
        """Takes a label out of all that is stored of the head, and starts a training as merging.

        Its examples are deleted, or stay without a label.
        """
        request = build(
            heads_pb2.DeleteLabelRequest,
            head=str(head_name(head)),
            label=label,
            examples=heads_pb2.EXAMPLES_OF_LABEL_DELETE
            if delete_examples
            else heads_pb2.EXAMPLES_OF_LABEL_KEEP,
        )
        reply = await self._call(self._heads.DeleteLabel, request, timeout, idempotent=False)
        return replies.changed(reply)
