"""The labels of a head, in all that is stored of it: counted, renamed, merged and taken away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, func, select, update

from service.errors import NotFound, PreconditionFailed
from service.store import schema
from service.store.captures import change_captured_labels
from service.store.changes import changed_in
from service.store.descriptions import delete_descriptions
from service.store.example_rules import DESCRIPTION
from service.store.examples import delete_example
from service.store.head_records import HeadRecord
from service.store.heads import get_head, update_head
from service.store.jobs import unfinished_job
from service.store.version_members import members_of
from service.store.versions import add_version, get_version, set_active
from trunkline.datasets.labels import nearest_label
from trunkline.resources import HeadName

_OF_EXAMPLES = ("label", "predicted_label", "other_label")
"""Fields of a report that hold a label."""


@dataclass(frozen=True, slots=True)
class LabelCount:
    """What is stored of one label: examples to learn from, held-out ones, feedback that counts."""

    examples: int = 0
    held_out: int = 0
    feedback: int = 0


@dataclass(frozen=True, slots=True)
class LabelChanges:
    """What was changed.

    Attributes:
        deleted: digests of the examples that are gone.
    """

    examples: int
    feedback: int
    deleted: Sequence[str] = ()


def count_labels(connection: Connection, uid: str) -> dict[str, LabelCount]:
    """Counts what is stored of a head by label, in the order of the labels."""
    examples, feedback = schema.examples.c, schema.feedback.c
    by_use = (
        select(
            examples.label,
            examples.held_out,
            func.count(case((examples.source != DESCRIPTION, 1))),
        )
        .where(examples.head_uid == uid, examples.label.is_not(None))
        .group_by(examples.label, examples.held_out)
    )
    counts = {(label, bool(held)): count for label, held, count in connection.execute(by_use)}
    by_label = (
        select(feedback.label, func.count())
        .where(feedback.head_uid == uid, feedback.state != "superseded")
        .group_by(feedback.label)
    )
    said = Counter({label: count for label, count in connection.execute(by_label)})
    return {
        label: LabelCount(counts.get((label, False), 0), counts.get((label, True), 0), said[label])
        for label in sorted({label for label, _ in counts} | said.keys())
    }


def changeable(
    connection: Connection, name: HeadName, labels: Collection[str]
) -> tuple[HeadRecord, set[str]]:
    """Returns a head whose labels may change now, and its labels.

    Raises:
        PreconditionFailed: it is trained, on the labels as they are.
        NotFound: there is no such head, or it does not have one of the labels.
    """
    head = get_head(connection, name.tenant, name.head)
    job = unfinished_job(connection, head.uid)
    if job is not None:
        raise PreconditionFailed(
            f"head: {name} is being trained on its labels as they are; wait for the training, or "
            "cancel it",
            field="head",
            limit="no training",
            value=f"{name}/trainings/{job.id}",
        )
    known = {*count_labels(connection, head.uid), *active_labels(connection, head)}
    for label in labels:
        if label not in known:
            near = nearest_label(label, known)
            meant = "" if near is None else f"; {near!r} may be meant"
            raise NotFound(
                f"label: {name} has no label {label!r}{meant}", field="label", value=label
            )
    return head, known


def active_labels(connection: Connection, head: HeadRecord) -> set[str]:
    """Returns the labels that the active version of a head has; none without one."""
    if not head.active_version:
        return set()
    return set(get_version(connection, head.uid, head.active_version).labels)


def change_labels(
    connection: Connection, head: HeadRecord, labels: Collection[str], into: str
) -> LabelChanges:
    """Puts one label in the place of others: on examples, feedback and in the weights of classes.

    The weight is that of `into`, or where it has none, of the first of the others that has one.
    """
    table = schema.examples
    changed = connection.execute(
        update(table)
        .where(table.c.head_uid == head.uid, table.c.label.in_(labels))
        .values(label=into)
    )
    connection.execute(
        update(table)
        .where(table.c.head_uid == head.uid, table.c.own_label.in_(labels))
        .values(own_label=into)
    )
    said = connection.execute(
        update(schema.feedback)
        .where(schema.feedback.c.head_uid == head.uid, schema.feedback.c.label.in_(labels))
        .values(label=into)
    )
    delete_descriptions(connection, head.uid, into, kept=1)
    change_captured_labels(connection, head.uid, labels, into)
    weights = head.spec.get("class_weights", {})
    named = [weights[label] for label in (into, *labels) if label in weights]
    _set_weights(connection, head, labels, {into: named[0]} if named else {})
    changed_in(connection).live.add(head.uid)
    return LabelChanges(changed.rowcount, said.rowcount)


def take_label_away(
    connection: Connection, head: HeadRecord, label: str, *, delete_examples: bool
) -> LabelChanges:
    """Takes a label from examples, feedback and the weights of classes.

    Feedback that says so is superseded, and what the label is said to mean is deleted.

    Args:
        delete_examples: whether its examples are deleted; else they stay without a label.
    """
    table, feedback = schema.examples, schema.feedback
    delete_descriptions(connection, head.uid, label)  # without its label it says nothing
    of_label = (table.c.head_uid == head.uid, table.c.label == label)
    digests = connection.scalars(select(table.c.digest).where(*of_label)).all()
    if delete_examples:
        for digest in digests:
            delete_example(connection, head.uid, digest)
    else:
        connection.execute(update(table).where(*of_label).values(label=None))
    connection.execute(
        update(table)
        .where(table.c.head_uid == head.uid, table.c.own_label == label)
        .values(own_label=None)
    )
    said = connection.execute(
        update(feedback)
        .where(
            feedback.c.head_uid == head.uid,
            feedback.c.label == label,
            feedback.c.state != "superseded",
        )
        .values(state="superseded")
    )
    _set_weights(connection, head, [label], {})
    changed_in(connection).live.add(head.uid)
    kept = 0 if delete_examples else len(digests)
    return LabelChanges(kept, said.rowcount, digests if delete_examples else ())


def rename_version(
    connection: Connection, head: HeadRecord, names: Mapping[str, str], safetensors: bytes
) -> int:
    """Puts a version in the place of the active one that differs from it in names of labels alone.

    What feedback said of that one holds for this one.

    Args:
        names: new labels by old ones.
        safetensors: the active version's file, with the new labels.
    """
    active = get_version(connection, head.uid, head.active_version)
    members = members_of(connection, head.uid, active.version)
    version = add_version(
        connection,
        head.uid,
        source="rename",
        labels=tuple(names.get(label, label) for label in active.labels),
        report=_renamed(active.report, names),
        example_count=active.example_count,
        safetensors=safetensors,
        activate=False,
        members={digest: names.get(label, label) for digest, label in members.items()} or None,
        base=active.version,
        tail=None if active.tail is None else active.tail.fingerprint,
    )
    set_active(connection, head, version)
    feedback = schema.feedback
    connection.execute(
        update(feedback)
        .where(
            feedback.c.head_uid == head.uid,
            feedback.c.active_version == active.version,
            feedback.c.state == "live",
        )
        .values(active_version=version)
    )
    return version


def _set_weights(
    connection: Connection, head: HeadRecord, labels: Collection[str], new: Mapping[str, float]
) -> None:
    weights = head.spec.get("class_weights", {})
    kept = {label: weight for label, weight in weights.items() if label not in labels}
    changed = {**kept, **new}
    if changed != weights:
        update_head(connection, head.uid, spec=head.spec | {"class_weights": changed})


def _renamed(report: Any, names: Mapping[str, str]) -> Any:
    """Returns a report, or a part of it, with new labels by old ones; sentences stay."""
    match report:
        case dict():
            return {
                key: names.get(value, value)
                if key in _OF_EXAMPLES
                else {names.get(label, label): weight for label, weight in value.items()}
                if key == "class_weights"
                else _renamed(value, names)
                for key, value in report.items()
            }
        case list():
            return [_renamed(item, names) for item in report]
    return report
