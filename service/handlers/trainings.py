"""The RPCs ``TrainHead``, ``GetTraining`` and ``CancelTraining``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import adapters
from service.errors import InvalidRequest, Unavailable
from service.replies.heads import training_message
from service.requests.call import Call
from service.requests.specs import read_spec
from service.store import Database
from service.store import heads as stored_heads
from service.store import jobs as stored_jobs
from service.store.head_records import HeadRecord
from service.store.jobs import JobRecord
from service.training.jobs import TrainingJobs
from service.training.running_job import RunningJob
from trunkline.resources import HeadName, TrainingName
from trunkline.v1 import heads_pb2


@dataclass(eq=False)
class Trainings:
    """Starts, shows and cancels the trainings of heads."""

    _database: Database
    _jobs: TrainingJobs

    async def train_head(
        self, request: heads_pb2.TrainHeadRequest, call: Call
    ) -> AsyncIterator[heads_pb2.TrainHeadResponse]:
        """Starts or joins the head's training and reports its progress until it ends."""
        running = await self._start_or_join(request)
        while True:
            changed, told = running.changed, running.job.state
            yield heads_pb2.TrainHeadResponse(training=_running_message(running))
            # The job may have ended while the client read: its end is yet to be told.
            if told.final:
                return
            ended = running.task is not None and running.task.done() and not running.paused
            if ended and not running.job.state.final:
                raise Unavailable(
                    "the server is stopping, or another has taken the training up; it resumes",
                    retry_after=1.0,
                )
            await changed.wait()

    async def get_training(
        self, request: heads_pb2.GetTrainingRequest, call: Call
    ) -> heads_pb2.GetTrainingResponse:
        """Returns a training as it stands."""
        head, job = await self._find(TrainingName.parse(request.name))
        return heads_pb2.GetTrainingResponse(training=self._message(head, job))

    async def cancel_training(
        self, request: heads_pb2.CancelTrainingRequest, call: Call
    ) -> heads_pb2.CancelTrainingResponse:
        """Ends a training without a version; one that has ended stays as it is."""
        head, job = await self._find(TrainingName.parse(request.name))
        job = await self._jobs.cancel(head, job)
        return heads_pb2.CancelTrainingResponse(training=self._message(head, job))

    async def _start_or_join(self, request: heads_pb2.TrainHeadRequest) -> RunningJob:
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        own = adapters.HeadSpec.from_json(head.spec)
        spec = _spec_of_training(request.spec, own) if request.HasField("spec") else own
        activate = request.activate if request.HasField("activate") else None
        return await self._jobs.start_or_join(head, spec, request.backbone, activate=activate)

    async def _find(self, name: TrainingName) -> tuple[HeadRecord, JobRecord]:
        head = await self._database.read(
            stored_heads.get_head, name.parent.tenant, name.parent.head
        )
        job = await self._database.read(stored_jobs.get_job, head.uid, name.training)
        return head, job

    def _message(self, head: HeadRecord, job: JobRecord) -> heads_pb2.Training:
        running = self._jobs.running(head)
        if running is not None and running.job.id == job.id and not job.state.final:
            return _running_message(running)
        return training_message(head.resource, job)


def _spec_of_training(message: heads_pb2.HeadSpec, own: adapters.HeadSpec) -> adapters.HeadSpec:
    """Reads the spec of a training; what predictions average over stays the head's own affair.

    Raises:
        adapters.InvalidSpec: it makes no sense.
        InvalidRequest: it says something else than the head about that.
    """
    if message.HasField("average_views") and message.average_views != own.average_views:
        raise InvalidRequest.at(
            "spec.average_views",
            "is no part of a training, the head has {limit}; UpdateHead changes it at once",
            own.average_views,
            message.average_views,
        )
    return replace(read_spec(message), average_views=own.average_views)


def _running_message(running: RunningJob) -> heads_pb2.Training:
    tuning = None if running.tuning is None else heads_pb2.TuningProgress(**running.tuning)
    return training_message(
        running.head.resource, running.job, running.phase, running.progress, tuning
    )
