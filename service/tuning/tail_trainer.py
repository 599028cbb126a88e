"""Trains a version that runs on a tail of its own, or a plain one, from kept inputs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import adapters
from adapters.held_out_set import LabelledRows, measure
from adapters.progress import Progress, within
from adapters.spec import ViewSet
from models import Modality
from models.tails import tail_fingerprint
from service.concurrency.time_limit import time_limit
from service.config import ServerSettings
from service.embedding.backfill import EmbeddingBackfill
from service.embedding.head_backbones import head_backbone
from service.errors import Aborted, PreconditionFailed, ServiceError, is_expected
from service.extraction import BackboneInfo, Extractor, TailRef
from service.fitting.task import FitTask
from service.fitting.trainer import Trainer, labelled_rows, new_version
from service.logs import get_logger
from service.store import Database, descriptions, example_sets
from service.store import examples as stored_examples
from service.store.example_sets import LabelledSet
from service.store.head_records import HeadRecord
from service.store.jobs import NewVersion
from service.store.tails import NewTail
from service.tuning.activations import Activations
from service.tuning.checks import WHOLE, check_examples, check_tunable
from service.tuning.process import TuningProcess
from service.tuning.task import TuningResult, TuningTask
from trunkline.labels import normalised

ATTEMPTS = 3
"""Attempts to read examples that are not deleted at the same time."""

ACTIVATION_SHARE = 0.2
"""Share of the work that computes activations; the rest is tuning."""

log = get_logger(__name__)


class TailTrainer:
    """Tunes tails, one at a time; linear heads are fitted meanwhile."""

    def __init__(
        self,
        database: Database,
        extractor: Extractor,
        trainer: Trainer,
        activations: Activations,
        backfill: EmbeddingBackfill,
        tuning_process: TuningProcess,
        settings: ServerSettings,
    ) -> None:
        self._database = database
        self._extractor = extractor
        self._trainer = trainer
        self._activations = activations
        self._backfill = backfill
        self._tuning_process = tuning_process
        self._timeout_seconds = settings.tune_timeout_seconds
        self._settings = {
            "engine": settings.engine,
            "device": settings.device,
            "catalogue": None if settings.catalogue is None else str(settings.catalogue),
            "offline": settings.offline,
        }

    async def check(
        self, head: HeadRecord, spec: adapters.HeadSpec, backbone: BackboneInfo
    ) -> None:
        """Refuses at once what could not be tuned.

        Raises:
            PreconditionFailed: naming field, limit and value.
        """
        check_tunable(head, spec.fine_tune, backbone)
        await self._database.read(check_examples, head)

    def acquire(self, tenant: str) -> AbstractAsyncContextManager[None]:
        """Acquires the tuning process for one training, fairly by tenant."""
        return self._tuning_process.acquire(tenant)

    async def train(
        self, head: HeadRecord, spec: adapters.HeadSpec, job: str, progress: Progress
    ) -> NewVersion:
        """Tunes a tail, from the job's last checkpoint on; needs `acquire`.

        The version runs on it only if it beats the head on the frozen backbone on the same folds.

        Raises:
            PreconditionFailed: nothing can be learned from the examples, or their activations
                or the tail take more bytes than they may.
            Aborted: it took too long, or examples were deleted again and again meanwhile.
            FitFailed, FitterDied: the tuning process failed or ended.
        """
        started = time.perf_counter()
        backbone = head_backbone(self._extractor, head)
        async with time_limit(self._timeout_seconds, "training", "tune_timeout_seconds"):
            task, result = await self._tune(head, backbone, spec, job, progress)
        progress(1.0, "storing the version")
        return await self._version(head, backbone, task, result, started)

    async def delete(self, job: str) -> None:
        """Deletes what a job has stored to resume after a restart."""
        await self._tuning_process.delete(job)

    async def remove_stale(self, jobs: list[str]) -> None:
        """Deletes what all other jobs have stored, and stale activations that a crash left."""
        await self._tuning_process.remove_stale(jobs)
        files = self._activations.files
        for uid in await files.threads.run(files.heads):
            await self.retain(uid)

    async def clean_up(self, uid: str, job: str) -> None:
        """Deletes what a job that has ended stored, and activations of examples that are gone."""
        await self.delete(job)
        await self.retain(uid)

    async def forget_head(self, uid: str) -> None:
        """Deletes the activations of a head that was deleted."""
        files = self._activations.files
        await files.threads.run(files.drop, uid)

    async def retain(self, uid: str) -> None:
        """Deletes a head's activations of examples that are gone."""
        files = self._activations.files
        try:
            digests = await self._database.read(stored_examples.all_digests, uid)
            await files.threads.run(files.retain, uid, digests)
        except (ServiceError, OSError) as error:  # what is left is looked through at the next start
            log.error(
                "activations of examples that are gone could not be deleted",
                head=uid,
                reason=str(error),
                exc_info=None if is_expected(error) else error,
            )

    async def _tune(
        self,
        head: HeadRecord,
        backbone: BackboneInfo,
        spec: adapters.HeadSpec,
        job: str,
        progress: Progress,
    ) -> tuple[TuningTask, TuningResult]:
        for attempt in range(ATTEMPTS):
            task = await self._task(head, spec, job)
            try:
                return task, await self._attempt(head, backbone, task, job, progress)
            except Aborted:  # an example was deleted meanwhile
                await self.delete(job)
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def _attempt(
        self,
        head: HeadRecord,
        backbone: BackboneInfo,
        task: TuningTask,
        job: str,
        progress: Progress,
    ) -> TuningResult:
        """Computes what activations are missing, and tunes; views that are tried follow then.

        Raises:
            Aborted: an example was deleted meanwhile.
        """
        spec, activations = task.base.spec.fine_tune, self._activations
        reached = ACTIVATION_SHARE

        def tuning(share: float, phase: str, details: Mapping[str, Any] | None = None) -> None:
            nonlocal reached
            reached = ACTIVATION_SHARE + (1 - ACTIVATION_SHARE) * share
            progress(reached, phase, details)

        complete = partial(
            activations.complete,
            *(head, backbone, task.digests),
            prepared=spec.strategy == WHOLE,
        )

        async def make_views(views: ViewSet) -> str | None:
            try:
                await complete(views, within(progress, reached, reached))
            except PreconditionFailed as error:  # no room for them, or no view can be made
                return error.message
            return None

        named = spec.named_views or ViewSet()
        key = await complete(named, within(progress, 0.0, ACTIVATION_SHARE))
        settings = {
            **self._settings,
            "activations": str(activations.files.folder(key)),
            "views": backbone.modality is Modality.IMAGE,
        }
        return await self._tuning_process.run(job, settings, tuning, make_views)

    async def _task(self, head: HeadRecord, spec: adapters.HeadSpec, job: str) -> TuningTask:
        """Returns what the job began with, also before a restart."""
        kept = await self._tuning_process.task(job)
        if (
            kept is not None
            and kept.base.fingerprint == head.fingerprint
            and all(label == normalised(label) for label in kept.base.labels)  # the store's are
        ):
            return kept
        await self.delete(job)
        material = await self._trainer.material(head, spec)
        base = replace(material.task, held_out=None)
        task = TuningTask(head.backbone, list(material.members), base)
        await self._tuning_process.begin(job, task)
        return task

    async def _version(
        self,
        head: HeadRecord,
        backbone: BackboneInfo,
        task: TuningTask,
        result: TuningResult,
        started: float,
    ) -> NewVersion:
        tests = await self._database.read(example_sets.held_out_set, head.uid, head.fingerprint)
        tail, features = None, None
        if result.tail is not None:
            tail = await self._tail(head, backbone, task, result)
            tests = tests.without(set(tests.digests) - tail.vectors.keys())
            features = [tail.vectors[digest] for digest in tests.digests]
        held_out = await asyncio.to_thread(
            _measure, result.head.safetensors, tests, task.base, features
        )
        fitted = replace(result.head, held_out=held_out)
        members = dict(zip(task.digests, task.base.labels, strict=True))
        described = await self._database.read(descriptions.among, head.uid, task.digests)
        return new_version(fitted, members, tests.digests, started, tail, len(described))

    async def _tail(
        self, head: HeadRecord, backbone: BackboneInfo, task: TuningTask, result: TuningResult
    ) -> NewTail:
        """Returns the tail with its embeddings of all examples, also of those it was not tuned on.

        It must run where it is to serve: a version that cannot answer would replace one that can.
        """
        data, features = result.tail, result.features
        assert data is not None
        assert features is not None

        async def read() -> bytes:
            return data

        ref = TailRef(tail_fingerprint(data), read)
        tuned = backbone.with_tail(ref)
        await self._backfill.prove(head, tuned, task.digests[0])
        vectors = dict(zip(task.digests, features, strict=True))
        every = await self._database.read(example_sets.without_embedding, head.uid, ref.fingerprint)
        others = [digest for digest, kept in every.items() if kept and digest not in vectors]
        vectors |= await self._backfill.compute(head, tuned, others)
        return NewTail(
            fingerprint=ref.fingerprint,
            strategy=task.base.spec.fine_tune.strategy,
            blocks=tuple(result.head.report["fine_tuning"]["blocks"]),
            data=data,
            vectors=vectors,
        )


def _measure(
    head: bytes,
    tests: LabelledSet,
    task: FitTask,
    features: Sequence[NDArray[np.float32]] | None,
) -> dict[str, Any] | None:
    """Measures a head on held-out examples, by what its tail makes of them if it has one."""
    held_out = labelled_rows(tests)
    if held_out is None:
        return None
    result = measure(
        adapters.Head.from_safetensors(head),
        held_out,
        LabelledRows(task.embeddings, task.labels, task.groups),
        features=None if features is None else np.stack(features),
        seed=task.spec.seed,
    )
    return None if result is None else result.to_json()
