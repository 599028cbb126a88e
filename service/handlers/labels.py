"""The RPCs on a head's labels: list, rename, merge and delete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

import adapters
from service.concurrency.tasks import UninterruptedTasks
from service.config import ServerSettings
from service.errors import Aborted, AlreadyExists, InvalidRequest, PreconditionFailed
from service.fitting.trainer import check_trainable
from service.handlers.heads import describe
from service.replies.heads import training_message, version_message
from service.requests.call import Call
from service.requests.fields import check_label
from service.store import Database, example_sets
from service.store import heads as stored_heads
from service.store import jobs as stored_jobs
from service.store import labels as stored_labels
from service.store import versions as stored_versions
from service.store.head_records import HeadRecord
from service.store.jobs import JobRecord
from service.store.labels import LabelChanges, LabelCount
from service.store.version_bounds import remove_oldest
from service.training.jobs import TrainingJobs
from service.tuning.activation_files import ActivationFiles
from trunkline.labels import normalised
from trunkline.resources import HeadName
from trunkline.v1 import heads_pb2

KEEP, DELETE = heads_pb2.EXAMPLES_OF_LABEL_KEEP, heads_pb2.EXAMPLES_OF_LABEL_DELETE

Change = Callable[[Connection, HeadRecord], LabelChanges]


@dataclass(eq=False)
class Labels:
    """Lists, renames, merges and deletes the labels of heads."""

    _database: Database
    _activations: ActivationFiles
    _jobs: TrainingJobs
    _tasks: UninterruptedTasks
    _settings: ServerSettings

    async def list_labels(
        self, request: heads_pb2.ListLabelsRequest, call: Call
    ) -> heads_pb2.ListLabelsResponse:
        """Counts what is stored by label; labels of the active version without any are there."""
        counts, active = await self._database.read(_list, HeadName.parse(request.head))
        return heads_pb2.ListLabelsResponse(
            labels=[
                heads_pb2.LabelCount(
                    label=label,
                    example_count=count.examples,
                    held_out_count=count.held_out,
                    feedback_count=count.feedback,
                    active=label in active,
                )
                for label, count in counts.items()
            ]
        )

    async def rename_label(
        self, request: heads_pb2.RenameLabelRequest, call: Call
    ) -> heads_pb2.RenameLabelResponse:
        """Renames a label; predictions answer with the new name from the reply on."""
        name, old = HeadName.parse(request.head), normalised(request.label)
        new = check_label(request.new_label, self._settings.max_label_bytes, "new_label")
        head = await self._database.read(_renamable, name, old, new)
        weights = await self._renamed_weights(head, {old: new})
        head, changes, made, removed = await self._database.write(
            _rename,
            name,
            head.active_version,
            old,
            new,
            weights,
            self._settings.max_versions_per_head,
        )
        version = None
        if made:
            found = await self._database.read(stored_versions.get_version, head.uid, made)
            version = version_message(head, found)
        return heads_pb2.RenameLabelResponse(
            head=await self._database.read(describe, name),
            changes=_message(changes),
            version=version,
            removed_versions=removed,
        )

    async def merge_labels(
        self, request: heads_pb2.MergeLabelsRequest, call: Call
    ) -> heads_pb2.MergeLabelsResponse:
        """Makes labels one, and starts a training of what that leaves."""
        name = HeadName.parse(request.head)
        into = check_label(request.into, self._settings.max_label_bytes, "into")
        labels = [
            label for label in dict.fromkeys(map(normalised, request.labels)) if label != into
        ]
        if not labels:
            raise InvalidRequest(
                f"labels: needs one at least that is not {into!r} itself",
                field="labels",
                limit="one other label",
                value=len(request.labels),
            )

        def merge(connection: Connection, head: HeadRecord) -> LabelChanges:
            return stored_labels.change_labels(connection, head, labels, into)

        changes, training = await self._tasks.run(self._change(name, labels, merge))
        return heads_pb2.MergeLabelsResponse(
            head=await self._database.read(describe, name),
            changes=_message(changes),
            training=training,
        )

    async def delete_label(
        self, request: heads_pb2.DeleteLabelRequest, call: Call
    ) -> heads_pb2.DeleteLabelResponse:
        """Takes a label away, and starts a training of what that leaves."""
        name, label = HeadName.parse(request.head), normalised(request.label)
        if request.examples not in (KEEP, DELETE):
            raise InvalidRequest(
                "examples: must say whether the examples of the label are deleted, or kept without "
                f"a label, is {request.examples}",
                field="examples",
                limit="EXAMPLES_OF_LABEL_KEEP or EXAMPLES_OF_LABEL_DELETE",
                value=request.examples,
            )
        deleted = request.examples == DELETE

        def take_away(connection: Connection, head: HeadRecord) -> LabelChanges:
            return stored_labels.take_label_away(connection, head, label, delete_examples=deleted)

        changes, training = await self._tasks.run(self._change(name, [label], take_away))
        return heads_pb2.DeleteLabelResponse(
            head=await self._database.read(describe, name),
            changes=_message(changes),
            training=training,
        )

    async def _renamed_weights(self, head: HeadRecord, names: Mapping[str, str]) -> bytes:
        """Returns the active version's file with other labels; empty without an active version."""
        if not head.active_version:
            return b""
        data = await self._database.read(stored_versions.get_weights, head.uid, head.active_version)
        return await asyncio.to_thread(_with_names, data, names)

    async def _change(
        self, name: HeadName, labels: Sequence[str], change: Change
    ) -> tuple[LabelChanges, heads_pb2.Training | None]:
        def write(connection: Connection) -> tuple[LabelChanges, JobRecord | None]:
            return _change(connection, name, labels, change, self._settings.max_classes)

        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        changes, running = await self._jobs.start_with(head, write)
        if changes.deleted:
            deleted = list(changes.deleted)
            await self._activations.threads.run(self._activations.forget, head.uid, deleted)
        return changes, None if running is None else training_message(str(name), running.job)


def _message(changes: LabelChanges) -> heads_pb2.LabelChanges:
    return heads_pb2.LabelChanges(
        examples=changes.examples,
        examples_deleted=len(changes.deleted),
        feedback=changes.feedback,
    )


def _with_names(safetensors: bytes, names: Mapping[str, str]) -> bytes:
    head = adapters.Head.from_safetensors(safetensors)
    weights = {names.get(label, label): weight for label, weight in head.class_weights.items()}
    labels = tuple(names.get(label, label) for label in head.labels)
    return replace(head, labels=labels, class_weights=weights).to_safetensors()


def _list(connection: Connection, name: HeadName) -> tuple[dict[str, LabelCount], set[str]]:
    head = stored_heads.get_head(connection, name.tenant, name.head)
    active = stored_labels.active_labels(connection, head)
    counts = stored_labels.count_labels(connection, head.uid)
    known = sorted({*counts, *active})
    return {label: counts.get(label, LabelCount()) for label in known}, active


def _rename(
    connection: Connection,
    name: HeadName,
    version: int,
    old: str,
    new: str,
    weights: bytes,
    max_versions: int | None,
) -> tuple[HeadRecord, LabelChanges, int, tuple[int, ...]]:
    """Renames in one step; returns the new version's number, 0 for none, and which had to go."""
    head = _renamable(connection, name, old, new)
    if head.active_version != version:
        raise Aborted(
            f"head: another version of {name} has taken over meanwhile; send it again",
            field="head",
            retry_after=1.0,
        )
    changes = stored_labels.change_labels(connection, head, [old], new)
    made, removed = 0, tuple[int, ...]()
    if old in stored_labels.active_labels(connection, head):
        made = stored_labels.rename_version(connection, head, {old: new}, weights)
        removed = remove_oldest(connection, head.uid, made, max_versions)
    return stored_heads.require_head(connection, head.uid), changes, made, removed


def _renamable(connection: Connection, name: HeadName, old: str, new: str) -> HeadRecord:
    """Returns a head that has one of the labels and not the other.

    Raises:
        AlreadyExists: it has the new one.
        NotFound, PreconditionFailed: as `stored_labels.changeable`.
    """
    head, known = stored_labels.changeable(connection, name, [old])
    if new in known:
        raise AlreadyExists(
            f"new_label: {name} has a label {new!r} already; merge the two, if they are one",
            field="new_label",
            value=new,
        )
    return head


def _change(
    connection: Connection, name: HeadName, labels: Sequence[str], change: Change, max_classes: int
) -> tuple[LabelChanges, JobRecord | None]:
    """Changes labels and queues the training of what that leaves, if the head has a version."""
    head, _ = stored_labels.changeable(connection, name, labels)
    changes = change(connection, head)
    if not head.active_version:
        return changes, None
    counts = example_sets.label_counts(connection, head.uid)
    if not counts:
        raise PreconditionFailed(
            f"head: version {head.active_version} of {name} was made elsewhere, and there are no "
            "examples to train another on; its labels can be renamed",
            field="head",
            limit="labelled examples",
            value=0,
        )
    spec = stored_heads.require_head(connection, head.uid).spec
    check_trainable(counts, adapters.HeadSpec.from_json(spec), max_classes)
    return changes, stored_jobs.start_job(connection, head.uid, spec, activate=True)
