"""Fits a version from a head's stored examples, ready to be stored."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

import adapters
from adapters.held_out_set import LabelledRows, disagreement
from adapters.progress import Progress, ignore_progress
from service.concurrency.time_limit import time_limit
from service.embedding.view_embeddings import ViewEmbeddings, stored_views
from service.errors import PreconditionFailed
from service.fitting.process import FitProcess
from service.fitting.task import FitTask, FittedHead
from service.store import Database, example_sets
from service.store import heads as stored_heads
from service.store import versions as stored_versions
from service.store.example_sets import LabelledSet
from service.store.head_records import HeadRecord
from service.store.jobs import NewVersion
from service.store.tails import NewTail

MIN_CLASSES = 2
ONE_IS_ENOUGH = ("auto", "prototype")
"""Families that do with classes of a single example; others need two of two classes."""

FEWEST = 2


@dataclass(frozen=True, slots=True)
class Material:
    """All that a training takes from the store.

    Attributes:
        members: labels by digest of the examples, in the task's order.
        held_out: digests of what the head is measured on, in the task's order.
        description_count: how many of the examples are descriptions of labels.
    """

    task: FitTask
    members: dict[str, str]
    held_out: list[str]
    description_count: int = 0


class Trainer:
    """Fits heads on their stored examples."""

    def __init__(
        self,
        database: Database,
        fit_process: FitProcess,
        views: ViewEmbeddings,
        *,
        timeout_seconds: float,
        max_classes: int,
    ) -> None:
        self._database = database
        self._fit_process = fit_process
        self._views = views
        self._timeout_seconds = timeout_seconds
        self._max_classes = max_classes

    async def check(self, head: HeadRecord, spec: adapters.HeadSpec) -> None:
        """Refuses at once what the fit would refuse later.

        Raises:
            PreconditionFailed: no head can be learned from the stored examples.
        """
        counts = await self._database.read(example_sets.label_counts, head.uid)
        check_trainable(counts, spec, self._max_classes)

    async def prepare(self, head: HeadRecord, spec: adapters.HeadSpec, progress: Progress) -> None:
        """Embeds missing views, which may take long and does not need the process."""
        if spec.augment.views:
            progress(0.0, "embedding views")
            await self._views.add_missing(head, spec.augment.views)

    async def fit(
        self,
        head: HeadRecord,
        spec: adapters.HeadSpec,
        progress: Progress,
    ) -> NewVersion:
        """Fits a version on the head's examples, from the active one on; needs the process.

        Raises:
            PreconditionFailed: no head can be learned from the examples.
            Aborted: it took too long.
            FitterDied: the training process ended unexpectedly.
        """
        progress(0.0, "reading examples")
        return await self._fit(await self.material(head, spec), progress)

    async def material(self, head: HeadRecord, spec: adapters.HeadSpec) -> Material:
        """Reads what a training of the head needs, as it is now.

        Raises:
            PreconditionFailed: no head can be learned from the examples.
        """
        return await self._database.read(_material, head, spec, self._max_classes)

    async def refit(self, head: HeadRecord, version: int, without: Set[str]) -> NewVersion:
        """Fits a version anew on its own examples without some; needs the process.

        Labels are those that the version knew: uploads and feedback since have no part in it. It
        begins from nothing, and on the backbone itself: a tail is tuned by the next training.

        Raises:
            NotFound: there is no such version.
            PreconditionFailed, Aborted, FitterDied: like `fit`.
        """
        material = await self._database.read(
            _material_of, head, version, without, self._max_classes
        )
        return await self._fit(material, ignore_progress)

    async def _fit(self, material: Material, progress: Progress) -> NewVersion:
        started = time.perf_counter()
        async with time_limit(self._timeout_seconds, "training", "fit_timeout_seconds"):
            fitted = await self._fit_process.fit(material.task, progress)
        return new_version(
            fitted,
            material.members,
            material.held_out,
            started,
            description_count=material.description_count,
        )


def check_trainable(counts: Mapping[str, int], spec: adapters.HeadSpec, max_classes: int) -> None:
    """Refuses examples that no head can be learned from, given how many each label has.

    Raises:
        PreconditionFailed: naming field, limit and value.
    """
    if not MIN_CLASSES <= len(counts) <= max_classes:
        bound = (
            f"at least {MIN_CLASSES} are needed" if len(counts) < 2 else f"at most {max_classes}"
        )
        raise PreconditionFailed(
            f"classes: {bound}, the labelled examples have {len(counts)}",
            field="classes",
            limit=MIN_CLASSES if len(counts) < MIN_CLASSES else max_classes,
            value=len(counts),
        )
    if spec.family in ONE_IS_ENOUGH:
        return
    second = sorted(counts, key=lambda label: (-counts[label], label))[MIN_CLASSES - 1]
    if counts[second] < FEWEST:
        raise PreconditionFailed(
            f"examples: {spec.family} needs at least {FEWEST} of {MIN_CLASSES} classes, "
            f"class {second!r} has {counts[second]}, and others have no more",
            field="examples",
            limit=FEWEST,
            value=counts[second],
        )


def _material(
    connection: Connection, head: HeadRecord, spec: adapters.HeadSpec, max_classes: int
) -> Material:
    stored = stored_heads.require_head(connection, head.uid)
    examples = example_sets.training_set(connection, head.uid, head.fingerprint)
    check_trainable(Counter(examples.labels), spec, max_classes)
    held_out = example_sets.held_out_set(connection, head.uid, head.fingerprint)
    start, active = None, stored.active_version
    if active and stored.active_fingerprint == head.fingerprint:
        start = stored_versions.get_weights(connection, head.uid, active)
    return _arranged(connection, head, spec, examples, held_out, start)


def _material_of(
    connection: Connection, head: HeadRecord, version: int, without: Set[str], max_classes: int
) -> Material:
    report = stored_versions.get_version(connection, head.uid, version).report
    spec = adapters.HeadSpec.from_json(report["spec"])
    examples = example_sets.version_set(connection, head.uid, version).without(without)
    check_trainable(Counter(examples.labels), spec, max_classes)
    held_out = example_sets.held_out_set(connection, head.uid).without(without)
    spec = replace(spec, fine_tune=adapters.FineTune())
    return _arranged(connection, head, spec, examples, held_out)


def _arranged(
    connection: Connection,
    head: HeadRecord,
    spec: adapters.HeadSpec,
    examples: LabelledSet,
    held_out: LabelledSet,
    start: bytes | None = None,
) -> Material:
    """Returns the material of a training, with views of the examples.

    Args:
        start: the safetensors file of the active version, where it is one to begin from.
    """
    task = FitTask(
        embeddings=examples.embeddings,
        labels=examples.labels,
        spec=spec,
        fingerprint=head.fingerprint,
        weights=None if (examples.weights == 1).all() else examples.weights,
        views=stored_views(connection, head, examples.digests, spec.augment.views),
        start=start,
        groups=_named_groups(examples),
        held_out=labelled_rows(held_out),
    )
    return Material(task, examples.members, held_out.digests, len(examples.descriptions))


def labelled_rows(examples: LabelledSet) -> LabelledRows | None:
    """Returns examples as heads are measured on them; None if there are none."""
    if not examples.labels:
        return None
    return LabelledRows(examples.embeddings, examples.labels, _named_groups(examples))


def _named_groups(examples: LabelledSet) -> list[str | None] | None:
    """Returns what each example belongs to; None if none of them belongs to anything."""
    return examples.groups if any(group is not None for group in examples.groups) else None


def new_version(
    fitted: FittedHead,
    members: Mapping[str, str],
    held_out: Sequence[str],
    started: float,
    tail: NewTail | None = None,
    description_count: int = 0,
) -> NewVersion:
    """Returns a version as it is stored: its report names examples by their digests.

    Args:
        members: labels by digest of the examples that it was trained on, in their order.
        held_out: digests of those that it was measured on.
        started: when its training began, on the performance counter.
        description_count: how many of the examples are descriptions of labels.
    """
    seconds = time.perf_counter() - started
    report = _stored_report(fitted, list(members), held_out, seconds)
    report["description_count"] = description_count
    if description_count:
        words = _words_on_descriptions(description_count)
        report["warnings"] = [*(report.get("warnings") or ()), words]
    return NewVersion(fitted.labels, report, fitted.safetensors, members, tail)


def _words_on_descriptions(count: int) -> str:
    classes, stand = ("1 class", "stands") if count == 1 else (f"{count} classes", "stand")
    return (
        f"{classes} {stand} on what {'it is' if count == 1 else 'they are'} said to mean, for want "
        "of two examples: no estimate knows how right answers are there"
    )


def _stored_report(
    fitted: FittedHead, digests: Sequence[str], held_out: Sequence[str], seconds: float
) -> dict[str, Any]:
    report = dict(fitted.report)
    for name, rows in (("likely_mislabelled", ("row",)), ("near_duplicates", ("row", "other_row"))):
        report[name] = [
            {
                key.replace("row", "digest"): digests[value] if key in rows else value
                for key, value in item.items()
            }
            for item in report[name]
        ]
    result = fitted.held_out or {"evaluation": None, "left_out": []}
    test = result["evaluation"]
    seen = [held_out[row] for row in result["left_out"]]
    warnings = list(report["warnings"])
    if seen:
        warnings.append(
            f"{len(seen)} of {len(held_out)} held-out examples are near-copies of examples that "
            "were trained on, or belong to a group with one: the figures on held-out examples are "
            "without them."
        )
    remark = disagreement(_estimate(report["estimate"]), test and _estimate(test["estimate"]))
    return report | {
        "warnings": [*warnings, *([remark] if remark else [])],
        "test": test,
        "seen_held_out": seen,
        "train_seconds": seconds,
        "train_cpu_seconds": fitted.cpu_seconds,
    }


def _estimate(report: dict[str, Any] | None) -> adapters.Estimate | None:
    return None if report is None else adapters.Estimate(**report)
