"""Runs a training job: moves the head if it is to move, fits or tunes, and stores the version."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import adapters
from service.concurrency.retry import retry_when_full
from service.embedding.head_backbones import current_backbone
from service.errors import Aborted, ExamplesForgotten, InvalidRequest
from service.extraction import Extractor
from service.fitting.process import FitProcess
from service.fitting.trainer import Trainer
from service.logs import get_logger
from service.store import Database
from service.store import jobs as stored_jobs
from service.store.head_records import HeadRecord
from service.store.jobs import Move, NewVersion
from service.training.backbone_move import BackboneMove
from service.training.running_job import RunningJob
from service.tuning.tail_trainer import TailTrainer

ATTEMPTS = 10
"""Attempts to make a version while examples are added, or forgotten, all the time."""

log = get_logger(__name__)


class JobRunner:
    """Runs jobs that make versions, one at a time for each head.

    Args:
        ready: returns as soon as the extractor answers.
        max_versions: of one head; None for any number.
    """

    def __init__(
        self,
        database: Database,
        extractor: Extractor,
        fit_process: FitProcess,
        trainer: Trainer,
        tails: TailTrainer,
        move: BackboneMove,
        ready: Callable[[], Awaitable[None]],
        max_versions: int | None,
    ) -> None:
        self._database = database
        self._extractor = extractor
        self._fit_process = fit_process
        self._trainer = trainer
        self._tails = tails
        self._move = move
        self._ready = ready
        self._max_versions = max_versions

    async def check(
        self, head: HeadRecord, spec: adapters.HeadSpec, backbone: str, *, activate: bool | None
    ) -> str | None:
        """Refuses at once what the job would fail of; returns where the head has to move, or None.

        Args:
            backbone: where it shall be; empty for where it is.

        Raises:
            InvalidRequest, PreconditionFailed, FingerprintMismatch: naming field, limit and value.
        """
        target = (
            self._extractor.backbone(backbone)
            if backbone
            else current_backbone(self._extractor, head)
        )
        moves = target is not None and target.fingerprint != head.fingerprint
        if moves and activate is False:
            raise InvalidRequest(
                "activate: must be true for a head that moves to another backbone, is false: no "
                "version of the old one could answer any more",
                field="activate",
                limit=True,
                value=False,
            )
        await self._trainer.check(head, spec)
        if target is not None and moves:
            await self._move.check(head, target)
        if spec.fine_tune.wanted:
            tuned = target or self._extractor.backbone(head.backbone)
            await self._tails.check(head, spec, tuned)
        return target.name if target is not None and moves else None

    async def run(self, running: RunningJob) -> None:
        """Runs a job; it has succeeded when this returns."""
        for left in reversed(range(ATTEMPTS)):
            try:
                await self._run(running)
            except ExamplesForgotten:
                if not left:
                    raise
                log.info("examples were forgotten: beginning anew", head=running.head.resource)
                running.report(0.0, "beginning anew")
            else:
                return

    async def _run(self, running: RunningJob) -> None:
        spec, target = running.spec, running.head
        if running.job.backbone is not None or spec.fine_tune.wanted:
            running.report(0.0, "waiting for the backbone")
            await self._ready()
        if running.job.backbone is not None:
            target = await self._move.begin(
                target,
                running.job.backbone,
                lambda share: running.report(0.0, f"embedding anew, {share:.0%} done"),
            )
        await self._trainer.prepare(target, spec, running.report)
        running.report(0.0, "waiting for its turn")
        if not spec.fine_tune.wanted:
            async with self._fit_process.acquire():
                await self._begin(running)
                new = await self._trainer.fit(target, spec, running.report)
                await self._store(running, target, new)
            return
        async with self._tails.acquire(target.tenant):
            await self._begin(running)
            new = await self._tails.train(target, spec, running.job.id, running.report)
        async with self._fit_process.acquire():
            await self._store(running, target, new)

    async def clean_up(self, running: RunningJob) -> None:
        """Deletes what a job that has ended stored for itself."""
        if running.spec.fine_tune.wanted:
            await self._tails.clean_up(running.head.uid, running.job.id)

    async def _begin(self, running: RunningJob) -> None:
        running.began = time.perf_counter()
        before = running.job.forgettings
        running.job = await retry_when_full(
            lambda: self._database.write(stored_jobs.mark_running, running.head.uid, running.job.id)
        )
        if running.spec.fine_tune.wanted and before not in (None, running.job.forgettings):
            await self._tails.delete(running.job.id)  # it holds what was forgotten

    async def _store(self, running: RunningJob, target: HeadRecord, new: NewVersion) -> None:
        head = running.head
        moves = target.fingerprint != head.fingerprint or target.backbone != head.backbone
        move = Move(target.backbone, target.fingerprint) if moves else None
        for _ in range(ATTEMPTS):
            if move is not None:
                await self._move.complete(target)
            stored = await retry_when_full(  # what was learned outlives a disk that stalls
                lambda: self._database.write(
                    stored_jobs.finish_with_version, running.job, new, move, self._max_versions
                )
            )
            if stored is not None:
                break
        else:
            raise Aborted(
                f"head: examples of {head.resource} became more all the time; train again",
                field="head",
                value=head.resource,
            )
        running.job = stored
        log.info(
            "trained",
            head=head.resource,
            version=stored.version,
            removed=list(stored.removed_versions),
            inactive=stored.inactive_reason,
            family=new.report["family"],
            examples=len(new.members),
            seconds=round(new.report["train_seconds"], 3),
            tail=new.tail is not None,
            backbone=target.backbone,
        )
