"""The recording server's methods about labels."""

from collections import Counter
from collections.abc import Collection
from typing import Any

from tests.trunkline.recorded_state import State, refuse
from trunkline.v1 import heads_pb2


class RecordedLabels(State):
    def ListLabels(self, request: Any, context: Any) -> Any:
        self._record("ListLabels", request, context)
        head = self._head(request.head, context)
        counts = Counter(label for label in self.examples[head.name].values() if label)
        return heads_pb2.ListLabelsResponse(
            labels=[
                heads_pb2.LabelCount(label=label, example_count=count, active=label in head.labels)
                for label, count in sorted(counts.items())
            ]
        )

    def RenameLabel(self, request: Any, context: Any) -> Any:
        self._record("RenameLabel", request, context)
        head = self._head(request.head, context)
        if request.new_label in self.examples[head.name].values():
            refuse(context, "ALREADY_EXISTS", "it is there", field="new_label")
        changes = self._relabel(head.name, [request.label], request.new_label)
        version = heads_pb2.HeadVersion(version=2, source="rename", labels=[request.new_label])
        return heads_pb2.RenameLabelResponse(
            head=head, changes=changes, version=version, removed_versions=self.removed_versions
        )

    def MergeLabels(self, request: Any, context: Any) -> Any:
        self._record("MergeLabels", request, context)
        head = self._head(request.head, context)
        changes = self._relabel(head.name, request.labels, request.into)
        training = heads_pb2.Training(
            name=f"{head.name}/trainings/t2", state=heads_pb2.TRAINING_STATE_QUEUED
        )
        return heads_pb2.MergeLabelsResponse(head=head, changes=changes, training=training)

    def DescribeLabels(self, request: Any, context: Any) -> Any:
        self._record("DescribeLabels", request, context)
        head = self._head(request.head, context)
        head.ClearField("label_descriptions")
        head.label_descriptions.update(request.descriptions)
        training = heads_pb2.Training(
            name=f"{head.name}/trainings/t2", state=heads_pb2.TRAINING_STATE_QUEUED
        )
        return heads_pb2.DescribeLabelsResponse(
            head=head, training=training, truncated=sorted(request.descriptions)[:1]
        )

    def DeleteLabel(self, request: Any, context: Any) -> Any:
        self._record("DeleteLabel", request, context)
        head = self._head(request.head, context)
        changes = self._relabel(head.name, [request.label], None)
        return heads_pb2.DeleteLabelResponse(head=head, changes=changes)

    def _relabel(
        self, head: str, labels: Collection[str], into: str | None
    ) -> heads_pb2.LabelChanges:
        known = self.examples[head]
        changed = [digest for digest, label in known.items() if label in labels]
        known.update(dict.fromkeys(changed, into))
        return heads_pb2.LabelChanges(examples=len(changed), feedback=1)
