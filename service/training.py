"""Training: durable jobs that fit heads on stored embeddings and make versions of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import adapters
from service.calls import Call
from service.completion import Completion
from service.errors import NotFound, ServiceError, Unavailable, problem_of
from service.fitting import Fitter
from service.live import LiveCopies
from service.loaded_heads import LoadedHeads
from service.logs import get_logger
from service.messages import read_spec, training_message
from service.metrics import Metrics
from service.store import Database
from service.store import heads as stored_heads
from service.store import jobs as stored_jobs
from service.store.heads import HeadRecord
from service.store.jobs import JobRecord, JobState
from service.trainer import Trainer
from trunkline.resources import HeadName, TrainingName
from trunkline.v1 import heads_pb2

log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Running:
    """A job under way, and an event that is set, and replaced, at each change."""

    head: HeadRecord
    job: JobRecord
    phase: str = "waiting for its turn"
    progress: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def note(self, progress: float, phase: str) -> None:
        self.progress, self.phase = progress, phase
        self.announce()

    def announce(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def message(self) -> heads_pb2.Training:
        return training_message(self.head.resource, self.job, self.phase, self.progress)


class Training:
    """The use cases behind ``TrainHead``, ``GetTraining`` and ``CancelTraining``."""

    def __init__(
        self,
        database: Database,
        fitter: Fitter,
        trainer: Trainer,
        heads: LoadedHeads,
        live: LiveCopies,
        completion: Completion,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._fitter = fitter
        self._trainer = trainer
        self._heads = heads
        self._live = live
        self._completion = completion
        self._metrics = metrics
        self._running: dict[str, _Running] = {}

    async def start(self) -> None:
        """Takes up the jobs that the last server left unfinished."""
        await self._fitter.start()
        for job in await self._database.read(stored_jobs.unfinished_jobs):
            head = await self._database.read(stored_heads.require_head, job.head_uid)
            log.info("training taken up again", head=head.resource, training=job.id)
            self._launch(head, job)

    async def close(self) -> None:
        """Stops fitting; unfinished jobs are taken up by the next server."""
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fitter.close()

    async def train(
        self, request: heads_pb2.TrainHeadRequest, call: Call
    ) -> AsyncIterator[heads_pb2.TrainHeadResponse]:
        """Starts or joins the head's training and tells its progress until it ends."""
        running = await self._start_or_join(request)
        while True:
            changed = running.changed
            yield heads_pb2.TrainHeadResponse(training=running.message())
            if running.job.state.final:
                return
            if running.task is not None and running.task.done():
                raise Unavailable("the server is stopping; it resumes", retry_after=1.0)
            await changed.wait()

    async def get(
        self, request: heads_pb2.GetTrainingRequest, call: Call
    ) -> heads_pb2.GetTrainingResponse:
        """A training as it stands."""
        head, job = await self._find(TrainingName.parse(request.name))
        return heads_pb2.GetTrainingResponse(training=self._message(head, job))

    async def cancel(
        self, request: heads_pb2.CancelTrainingRequest, call: Call
    ) -> heads_pb2.CancelTrainingResponse:
        """Ends a training without a version; one that has ended stays as it is."""
        head, job = await self._find(TrainingName.parse(request.name))
        job = await self._completion.run(self._cancel(head, job))
        return heads_pb2.CancelTrainingResponse(training=self._message(head, job))

    async def stop(self, uid: str, job: JobRecord | None = None) -> None:
        """Stops fitting for a head whose job was cancelled, or which was deleted (no job)."""
        running = self._running.get(uid)
        if running is None or running.task is None or (job and running.job.id != job.id):
            return
        running.job = job or _ended(running.job, "NOT_FOUND", "the head was deleted")
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)

    async def _start_or_join(self, request: heads_pb2.TrainHeadRequest) -> _Running:
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        joined = self._running.get(head.uid)
        if joined is not None:
            return joined
        spec = (
            read_spec(request.spec)
            if request.HasField("spec")
            else adapters.HeadSpec.from_json(head.spec)
        )
        activate = request.activate if request.HasField("activate") else True
        await self._trainer.check(head, spec)
        return await self._completion.run(self._start(head, spec.to_json(), activate))

    async def _start(self, head: HeadRecord, spec: dict[str, Any], activate: bool) -> _Running:
        job = await self._database.write(stored_jobs.start_job, head.uid, spec, activate)
        return self._running.get(head.uid) or self._launch(head, job)

    async def _cancel(self, head: HeadRecord, job: JobRecord) -> JobRecord:
        ended = await self._database.write(
            stored_jobs.finish_without_version, job, JobState.CANCELLED
        )
        await self.stop(head.uid, ended)
        return ended

    def _launch(self, head: HeadRecord, job: JobRecord) -> _Running:
        running = _Running(head, job)
        self._running[head.uid] = running
        running.task = asyncio.create_task(self._run(running), name=f"training-{job.id}")
        running.task.add_done_callback(lambda _: self._landed(running))
        return running

    def _landed(self, running: _Running) -> None:
        # Also when the task was cancelled before its first step.
        del self._running[running.head.uid]
        if running.job.state.final:
            self._metrics.trainings.labels(running.job.state).inc()
        running.announce()

    async def _run(self, running: _Running) -> None:
        head, spec = running.head, adapters.HeadSpec.from_json(running.job.spec)
        started = time.perf_counter()
        try:
            await self._trainer.prepare(head, spec, running.note)
            async with self._fitter.turn():
                started = time.perf_counter()
                await self._fit(running, spec)
        except Exception as error:
            await self._fail(running, error)
        seconds = time.perf_counter() - started
        self._metrics.training_seconds.labels(running.job.state).observe(seconds)

    async def _fit(self, running: _Running, spec: adapters.HeadSpec) -> None:
        head, job = running.head, running.job
        running.job = await self._database.write(stored_jobs.mark_running, head.uid, job.id)
        new = await self._trainer.fit(head, spec, running.note)
        running.job = await self._database.write(stored_jobs.finish_with_version, job, new)
        self._heads.forget(head.resource)
        self._live.outdate(head.uid)
        log.info(
            "trained",
            head=head.resource,
            version=running.job.version,
            family=new.report["family"],
            examples=len(new.members),
            seconds=round(new.report["train_seconds"], 3),
        )

    async def _fail(self, running: _Running, error: Exception) -> None:
        head, job = running.head, running.job
        problem = problem_of(error)
        log.warning("training failed", head=head.resource, training=job.id, exc_info=error)
        try:
            running.job = await self._database.write(
                stored_jobs.finish_without_version,
                job,
                JobState.FAILED,
                problem.status.code.name,
                problem.message,
            )
        except NotFound:
            log.info("head was deleted while it was trained", head=head.resource)
            running.job = _ended(job, problem.status.code.name, problem.message)
        except ServiceError:
            log.exception("the end of a training could not be stored", training=job.id)
            running.job = _ended(job, problem.status.code.name, problem.message)

    async def _find(self, name: TrainingName) -> tuple[HeadRecord, JobRecord]:
        head = await self._database.read(
            stored_heads.get_head, name.parent.tenant, name.parent.head
        )
        job = await self._database.read(stored_jobs.get_job, head.uid, name.training)
        return head, job

    def _message(self, head: HeadRecord, job: JobRecord) -> heads_pb2.Training:
        running = self._running.get(head.uid)
        if running is not None and running.job.id == job.id and not job.state.final:
            return running.message()
        return training_message(head.resource, job)


def _ended(job: JobRecord, code: str, message: str) -> JobRecord:
    return JobRecord(
        id=job.id,
        head_uid=job.head_uid,
        state=JobState.FAILED,
        spec=job.spec,
        activate=job.activate,
        version=0,
        error_code=code,
        error_message=message,
        created_at=job.created_at,
        ended_at=time.time(),
    )
