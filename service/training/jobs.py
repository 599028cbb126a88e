"""Durable training jobs: started, resumed after a restart, paused and cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection

import adapters
from service.concurrency.retry import retry_when_full
from service.concurrency.tasks import UninterruptedTasks
from service.errors import (
    Aborted,
    NotFound,
    ServiceError,
    is_expected,
    problem_of,
    reason_for_log,
)
from service.fitting.process import FitProcess
from service.logs import get_logger
from service.metrics import Metrics
from service.store import Database
from service.store import heads as stored_heads
from service.store import jobs as stored_jobs
from service.store.changes import Changed
from service.store.head_records import HeadRecord
from service.store.jobs import JobRecord, JobState
from service.training.job_runner import JobRunner
from service.training.running_job import RunningJob
from service.tuning.tail_trainer import TailTrainer

T = TypeVar("T")

log = get_logger(__name__)


class TrainingJobs:
    """All training jobs under way, at most one for each head."""

    def __init__(
        self,
        database: Database,
        fit_process: FitProcess,
        runner: JobRunner,
        tails: TailTrainer,
        tasks: UninterruptedTasks,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._fit_process = fit_process
        self._runner = runner
        self._tails = tails
        self._tasks = tasks
        self._metrics = metrics
        self._running: dict[str, RunningJob] = {}
        self._elsewhere: dict[str, RunningJob] = {}
        self._pausing: set[str] = set()
        self._closed = False
        database.follow(self._follow)

    async def start(self) -> None:
        """Resumes the jobs that the last server left unfinished; ends those that are damaged."""
        damaged = await self._database.read(stored_jobs.damaged_jobs, adapters.HeadSpec.from_json)
        if damaged:
            for words in damaged.values():
                log.error("a training is damaged and fails", reason=words)
            await self._database.write(stored_jobs.end_damaged_jobs, damaged)
        await self._take_up(remove_stale=True)

    def take_up_soon(self) -> None:
        """Takes up jobs of servers that are gone."""
        self._tasks.start(self._take_up_left())

    async def warm_up(self) -> None:
        """Starts the process that fits, so that the first training does not wait for it."""
        await self._fit_process.warm_up()

    async def close(self) -> None:
        """Stops fitting; the next server resumes unfinished jobs, and those requested later."""
        self._closed = True
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fit_process.close()

    def running(self, head: HeadRecord) -> RunningJob | None:
        """Returns the head's job that is under way, if there is one."""
        return self._running.get(head.uid)

    async def start_or_join(
        self, head: HeadRecord, spec: adapters.HeadSpec, backbone: str, *, activate: bool | None
    ) -> RunningJob:
        """Returns the head's job that is under way, or starts a new one.

        Args:
            backbone: where the head shall be; empty for where it is.
            activate: whether its version answers; None unless that loses an estimate.

        Raises:
            InvalidRequest, PreconditionFailed, FingerprintMismatch: a new one would fail.
        """
        joined = self._running.get(head.uid)
        if joined is not None:
            return joined
        job = await self._database.read(stored_jobs.unfinished_job, head.uid)
        if job is not None:
            return await self._tasks.run(self._take(head, job))
        target = await self._runner.check(head, spec, backbone, activate=activate)
        return await self._tasks.run(self._start(head, spec.to_json(), activate, target))

    async def start_with(
        self, head: HeadRecord, change: Callable[[Connection], tuple[T, JobRecord | None]]
    ) -> tuple[T, RunningJob | None]:
        """Starts the job that a change of the head queues in the same step; not to be cancelled.

        Args:
            change: writes; returns what it likes, and the queued job, if there is one.
        """
        outcome, job = await self._database.write(change)
        if job is None:
            return outcome, None
        while (running := self._running.get(head.uid)) is not None:
            if running.job.id == job.id or running.task is None:
                return outcome, running
            await asyncio.wait([running.task])  # one that has ended, and cleans up
        return outcome, await self._take(head, job)

    async def cancel(self, head: HeadRecord, job: JobRecord) -> JobRecord:
        """Ends a job without a version; one that has ended stays as it is."""
        return await self._tasks.run(self._cancel(head, job))

    async def forget_head(self, uid: str) -> None:
        """Stops training a head that was deleted, and deletes what was kept for trainings."""
        running = self._running.get(uid)
        if running is not None:
            await self._stop(running, _ended(running.job, "NOT_FOUND", "the head was deleted"))
        await self._tails.forget_head(uid)

    @asynccontextmanager
    async def paused(self, uid: str) -> AsyncIterator[None]:
        """Keeps trainings from reading examples and storing versions: some are to be forgotten.

        Fine-tuning for this head, which has read them and takes long, is stopped and begins anew
        afterwards; one that is requested meanwhile starts then, too. Other trainings read and store
        while they have the fit process, which this acquires.
        """
        async with self._fit_process.acquire():
            self._pausing.add(uid)
            try:
                running = self._running.get(uid)
                if running is not None and running.spec.fine_tune.wanted:
                    running.paused = True
                    await _end(running)
                    await self._tails.delete(running.job.id)
                yield
            finally:
                self._pausing.remove(uid)
                running = self._running.get(uid)
                if running is not None and running.paused and not self._closed:
                    self._resume(running)

    async def _start(
        self, head: HeadRecord, spec: dict[str, Any], activate: bool | None, backbone: str | None
    ) -> RunningJob:
        job = await self._database.write(stored_jobs.start_job, head.uid, spec, activate, backbone)
        return await self._take(head, job)

    async def _take(self, head: HeadRecord, job: JobRecord) -> RunningJob:
        """Returns a job that runs here, and launches it if it does not yet, or elsewhere."""
        if job.claimed_by == self._database.session:
            return self._running.get(head.uid) or self._launch(head, job)
        watched = self._elsewhere.get(head.uid)
        if watched is None or watched.job.id != job.id:
            watched = self._elsewhere[head.uid] = RunningJob(head, job, "running elsewhere")
        await self._look(watched)  # it may have ended before anybody watched it
        return watched

    async def _take_up_left(self) -> None:
        try:
            await self._take_up()
        except ServiceError as error:  # the next lease tries again
            log.warning("trainings could not be taken up", reason=reason_for_log(error))

    async def _take_up(self, *, remove_stale: bool = False) -> None:
        """Launches the jobs of this server that do not run, and those of servers that are gone.

        Args:
            remove_stale: whether files of all other jobs are deleted.
        """
        if await self._database.read(stored_jobs.are_jobs_left):
            await self._database.write(stored_jobs.take_up_jobs)
        jobs = await self._database.read(stored_jobs.unfinished_jobs, self._database.session)
        if remove_stale:
            await self._tails.remove_stale([job.id for job in jobs])
        for job in jobs:
            if job.head_uid in self._running or self._closed:
                continue
            head = await self._database.read(stored_heads.require_head, job.head_uid)
            if job.head_uid not in self._running:
                log.info("training taken up again", head=head.resource, training=job.id)
                self._launch(head, job)

    def _follow(self, changed: Changed) -> None:
        """Has jobs here, and those that are watched, learn what other servers have changed."""
        if self._database.session is None:
            return
        every = {*self._running, *self._elsewhere} if changed.everything else set[str]()
        for uid in changed.trainings | changed.live | every:
            for running in (self._running.get(uid), self._elsewhere.get(uid)):
                if running is not None:
                    self._tasks.start(self._look_soon(running))
        for uid in changed.live | every:
            self._tasks.start(self._tails.retain(uid))

    async def _look_soon(self, running: RunningJob) -> None:
        try:
            await self._look(running)
        except ServiceError as error:  # what it makes is not stored
            log.warning("a training could not be looked at", reason=reason_for_log(error))

    async def _look(self, running: RunningJob) -> None:
        """Learns what has become of a job: its server, or one that cancels it, may be another."""
        uid, here = running.head.uid, self._running.get(running.head.uid) is running
        try:
            job, forgettings = await self._database.read(stored_jobs.standing, running.job)
        except NotFound:
            job = _ended(running.job, "NOT_FOUND", "the head was deleted")
            forgettings = 0
        if not here:
            running.job = job
            running.notify()
            if job.state.final and self._elsewhere.get(uid) is running:
                del self._elsewhere[uid]
        elif job.state is JobState.CANCELLED or job.error_code == "NOT_FOUND":
            if not running.job.state.final:
                await self._stop(running, job)
        elif (
            running.spec.fine_tune.wanted
            and uid not in self._pausing
            and job.forgettings not in (None, forgettings)
        ):
            async with self.paused(uid):  # it begins anew
                return

    async def _cancel(self, head: HeadRecord, job: JobRecord) -> JobRecord:
        ended = await self._database.write(
            stored_jobs.finish_without_version, job, JobState.CANCELLED
        )
        running = self._running.get(head.uid)
        if running is not None and running.job.id == job.id:
            await self._stop(running, ended)
        return ended

    async def _stop(self, running: RunningJob, ended: JobRecord) -> None:
        """Ends a job that was cancelled, or whose head was deleted."""
        running.job = ended
        await _end(running)
        await self._runner.clean_up(running)

    def _launch(self, head: HeadRecord, job: JobRecord) -> RunningJob:
        running = RunningJob(head, job)
        watched = self._elsewhere.get(head.uid)
        if watched is not None and watched.job.id == job.id:  # whoever watches it watches on
            running = self._elsewhere.pop(head.uid)
            running.job, running.phase = job, "waiting for its turn"
        self._running[head.uid] = running
        running.paused = head.uid in self._pausing and running.spec.fine_tune.wanted
        if not running.paused and not self._closed:
            self._begin(running)
        return running

    def _resume(self, running: RunningJob) -> None:
        running.paused = False
        if running.job.state.final:  # it was cancelled meanwhile
            self._task_done(running)
        else:
            running.report(0.0, "beginning anew")
            self._begin(running)

    def _begin(self, running: RunningJob) -> None:
        running.task = asyncio.create_task(self._run(running), name=f"training-{running.job.id}")
        running.task.add_done_callback(lambda _: self._task_done(running))

    def _task_done(self, running: RunningJob) -> None:
        # Also when the task was cancelled before its first step.
        if running.paused:
            return
        del self._running[running.head.uid]
        if running.job.state.final:
            self._metrics.trainings.labels(running.job.state).inc()
        running.notify()

    async def _run(self, running: RunningJob) -> None:
        try:
            await self._runner.run(running)
        except Exception as error:
            await self._fail(running, error)
        seconds = time.perf_counter() - running.began
        self._metrics.training_seconds.labels(running.job.state).observe(seconds)
        await self._runner.clean_up(running)

    async def _fail(self, running: RunningJob, error: Exception) -> None:
        head, job = running.head, running.job
        problem = problem_of(error)
        fault = None if is_expected(error) else error  # others' messages have labels in them
        log.warning(
            "training failed",
            head=head.resource,
            training=job.id,
            reason=reason_for_log(error),
            exc_info=fault,
        )
        try:
            running.job = await retry_when_full(
                lambda: self._database.write(
                    stored_jobs.finish_without_version,
                    job,
                    JobState.FAILED,
                    problem.status.code.name,
                    problem.message,
                )
            )
        except NotFound:
            log.info("head was deleted while it was trained", head=head.resource)
            running.job = _ended(job, problem.status.code.name, problem.message)
        except Aborted:
            log.warning("another server has taken the training up", training=job.id)
        except ServiceError as stored:
            log.error(
                "the end of a training could not be stored",
                training=job.id,
                reason=str(stored),
                exc_info=None if is_expected(stored) else stored,
            )
            running.job = _ended(job, problem.status.code.name, problem.message)


async def _end(running: RunningJob) -> None:
    if running.task is not None:
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)


def _ended(job: JobRecord, code: str, message: str) -> JobRecord:
    return replace(
        job,
        state=JobState.FAILED,
        version=0,
        error_code=code,
        error_message=message,
        ended_at=time.time(),
    )
