"""Trainings, watched to their end over however many broken streams."""

import time
from collections.abc import Callable

from trunkline import errors
from trunkline.clients.async_waiting import sleep
from trunkline.clients.asynchronous.heads import AsyncHeads
from trunkline.clients.specs import spec_message
from trunkline.connection.retrying import StreamRetries
from trunkline.v1 import heads_pb2
from trunkline.values.heads import HeadSpec
from trunkline.values.outcomes import Training, TrainingState
from trunkline.wire.building import build
from trunkline.wire.names import head_name
from trunkline.wire.reading import read


class AsyncTrainings(AsyncHeads):
    """The calls about trainings."""

    async def train(
        self,
        head: str,
        spec: HeadSpec | None = None,
        *,
        activate: bool | None = None,
        backbone: str | None = None,
        on_progress: Callable[[Training], None] | None = None,
        timeout: float | None = None,
    ) -> Training:
        """Trains a version on the stored examples, and waits for it.

        Joins a training that is running already. `spec` takes the place of the head's own for this
        once. The version answers from then on, unless `activate` is false, or is None and it has no
        estimate and would replace one that has: `activated` and `inactive_reason` of the result
        tell. A `backbone` moves the head to that one, or to the new fingerprint of its own: kept
        inputs are embedded anew first. `timeout` (seconds; none by default) ends the waiting, not
        the training. Raises the training's own error if it failed, and `Cancelled` if somebody
        cancelled it.
        """
        request = build(
            heads_pb2.TrainHeadRequest,
            head=str(head_name(head)),
            spec=spec_message(spec),
            activate=activate,
            backbone=backbone or "",
        )
        end = None if timeout is None else time.monotonic() + timeout
        retries = StreamRetries()
        latest: Training | None = None

        def seen(reply: heads_pb2.TrainHeadResponse) -> None:
            nonlocal latest
            latest = read(Training, reply.training)
            retries.reset()
            if on_progress:
                on_progress(latest)

        # A broken stream is joined again. Where the training ended just then, that starts another
        # one, which does no harm: the same examples, spec and seed give the same head.
        while latest is None or not latest.done:
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                await self._watch(self._heads.TrainHead, request, seen, left)
                if latest is None or not latest.done:
                    raise errors.Unavailable(
                        "the server ended the stream before the training ended"
                    )
            except errors.Unavailable as error:
                await sleep(retries.pause(error))
                # Both of these wait until the server is back, and fail if it is not in time.
                if latest is None:
                    await self.get_head(head)
                else:
                    latest = await self.get_training(latest.name)
        return _succeeded(latest)

    async def get_training(self, name: str, *, timeout: float | None = None) -> Training:
        """Returns a training by its full name."""
        request = build(heads_pb2.GetTrainingRequest, name=name)
        reply = await self._call(self._heads.GetTraining, request, timeout)
        return read(Training, reply.training)

    async def cancel_training(self, name: str, *, timeout: float | None = None) -> Training:
        """Cancels a training by its full name; one that has ended stays as it is."""
        request = build(heads_pb2.CancelTrainingRequest, name=name)
        reply = await self._call(self._heads.CancelTraining, request, timeout)
        return read(Training, reply.training)


def _succeeded(training: Training) -> Training:
    """Returns the training, or raises its error as the exception that it stands for."""
    if training.state is TrainingState.SUCCEEDED:
        return training
    if training.state is TrainingState.CANCELLED:
        raise errors.Cancelled(f"{training.name} was cancelled")
    error = errors.BY_CODE.get(training.error_code, errors.Unknown)
    raise error(training.error_message or f"{training.name} failed")
