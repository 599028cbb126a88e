"""Training a version, watched to its end over however many broken streams."""

import time
from collections.abc import Callable

from trunkline import calls, errors, replies
from trunkline.calls import Pause, WatchTraining
from trunkline.calls import heads as head_calls
from trunkline.connection.retrying import StreamRetries
from trunkline.flows.rows import Flow
from trunkline.v1 import heads_pb2
from trunkline.values.heads import HeadSpec
from trunkline.values.outcomes import Training, TrainingState
from trunkline.wire.building import build


def train(
    head: str,
    spec: HeadSpec | None,
    activate: bool | None,
    backbone: str | None,
    on_progress: Callable[[Training], None] | None,
    timeout: float | None,
) -> Flow[Training]:
    """Runs `TrainHead` and watches it to its end.

    A broken stream is joined again. Where the training ended just then, that starts another one,
    which does no harm: the same examples, spec and seed give the same head.
    """
    request = build(
        heads_pb2.TrainHeadRequest,
        head=str(calls.head_name(head)),
        spec=head_calls.spec_message(spec),
        activate=activate,
        backbone=backbone or "",
    )
    end = None if timeout is None else time.monotonic() + timeout
    retries = StreamRetries()
    latest: Training | None = None

    def seen(training: Training) -> None:
        nonlocal latest
        latest = training
        retries.reset()
        if on_progress:
            on_progress(training)

    while latest is None or not latest.done:
        left = None if end is None else max(0.0, end - time.monotonic())
        try:
            yield WatchTraining(request, lambda reply: seen(replies.training(reply.training)), left)
            if latest is None or not latest.done:
                raise errors.Unavailable("the server ended the stream before the training ended")
        except errors.Unavailable as error:
            yield Pause(retries.pause(error))
            # Both of these wait until the server is back, and fail if it is not in time.
            if latest is None:
                yield head_calls.get_head(head)
            else:
                latest = yield calls.get_training(latest.name)
    return _succeeded(latest)


def _succeeded(training: Training) -> Training:
    """Returns the training, or raises its error as the exception that it stands for."""
    if training.state is TrainingState.SUCCEEDED:
        return training
    if training.state is TrainingState.CANCELLED:
        raise errors.Cancelled(f"{training.name} was cancelled")
    error = errors.BY_CODE.get(training.error_code, errors.Unknown)
    raise error(training.error_message or f"{training.name} failed")
