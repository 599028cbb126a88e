"""The main job of one tenant: create, upload, train, predict over both transports, correct."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from service.demo import progress
from service.demo.data import Task
from service.demo.errors import DemoError, sound
from service.demo.rest import RestClient
from trunkline import Client, Digest, Prediction

REST_ROWS = 100
FEEDBACK_ROWS = 20
PROBABILITY_TOLERANCE = 1e-6

Row = tuple[bytes | str, str]
"""An image's bytes or a text, and its label."""


@dataclass(frozen=True)
class Latency:
    """Seconds of one-row requests, as the client sees them."""

    median: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Computes nearest-rank percentiles."""
        ordered = sorted(seconds)
        rank = [math.ceil(share * len(ordered)) - 1 for share in (0.5, 0.99)]
        return cls(ordered[rank[0]], ordered[rank[1]])


@dataclass(frozen=True)
class Outcome:
    """What a tenant's row of the table says; times are in seconds, accuracies from 0 to 1."""

    head: str
    about: str
    backbone: str
    classes: int
    examples: int
    held_out: int
    family: str
    estimated_accuracy: float
    estimated_low: float
    estimated_high: float
    held_out_accuracy: float
    upload_seconds: float
    training_seconds: float
    cold: Latency
    cached: Latency
    rest_cached: Latency
    feedback: int
    anothers_key: str


def run(
    task: Task, client: Client, open_rest: Callable[[], RestClient], anothers_key: Callable[[], str]
) -> Outcome:
    """Runs the job and measures it.

    Args:
        client: shows the tenant's key, as what `open_rest` gives does.
        anothers_key: asks the head with the key of another tenant; returns what came of it.

    Raises:
        DemoError: a row failed, or the transports disagree.
        TrunklineError: what the client raises.
    """
    progress.title(f"{task.head}: {task.about}")
    client.create_head(task.head, task.backbone)
    upload_seconds = _upload(task, client)
    training_seconds = _train(task, client)
    report = client.report(task.head)
    if report.estimate is None:
        raise DemoError(f"{task.head} has no estimate of its accuracy")
    rows = [(i if isinstance(i, str) else i.read_bytes(), label) for i, label in task.held_out]
    with progress.bar("predict", 2 * len(rows)) as set_done:
        predictions, cold = _predict(task.head, rows, client, set_done)
        _, cached = _predict(task.head, rows, client, lambda count: set_done(len(rows) + count))
    rest_cached = _predict_over_rest(task.head, rows, predictions, open_rest)
    right = sum(p.label == label for p, (_, label) in zip(predictions, rows, strict=True))
    feedback = _give_feedback(task.head, rows, predictions, client, open_rest)
    progress.done(
        f"predicted {len(rows)} held-out rows cold and cached over gRPC, "
        f"{min(REST_ROWS, len(rows))} over REST: {right / len(rows):.1%} right"
    )
    progress.done(f"sent {feedback} labels as feedback")
    return Outcome(
        head=task.head,
        about=task.about,
        backbone=report.backbone,
        classes=len(report.classes),
        examples=report.example_count,
        held_out=len(rows),
        family=report.family,
        estimated_accuracy=report.estimate.accuracy,
        estimated_low=report.estimate.accuracy_low,
        estimated_high=report.estimate.accuracy_high,
        held_out_accuracy=right / len(rows),
        upload_seconds=upload_seconds,
        training_seconds=training_seconds,
        cold=cold,
        cached=cached,
        rest_cached=rest_cached,
        feedback=feedback,
        anothers_key=anothers_key(),
    )


def _upload(task: Task, client: Client) -> float:
    started = time.perf_counter()
    with progress.bar("upload", len(task.training)) as set_done:
        upload = client.upload(task.head, task.training, lambda now: set_done(now.rows))
    sound("upload", upload.failures)
    seconds = time.perf_counter() - started
    rate = upload.rows / seconds
    progress.done(f"uploaded and embedded {upload.rows} examples in {seconds:.1f} s ({rate:.0f}/s)")
    return seconds


def _train(task: Task, client: Client) -> float:
    started = time.perf_counter()
    with progress.bar("train", 1.0) as set_done:
        training = client.train(task.head, on_progress=lambda now: set_done(now.progress))
    seconds = time.perf_counter() - started
    progress.done(f"trained version {training.version} in {seconds:.1f} s")
    return seconds


def _predict(
    head: str, rows: Sequence[Row], client: Client, set_done: Callable[[int], None]
) -> tuple[list[Prediction], Latency]:
    """Predicts row by row, one request each."""
    predictions: list[Prediction] = []
    seconds: list[float] = []
    for content, _ in rows:
        started = time.perf_counter()
        outcomes = client.predict(head, [content])
        seconds.append(time.perf_counter() - started)
        predictions += sound("prediction", outcomes)
        set_done(len(predictions))
    return predictions, Latency.of(seconds)


def _predict_over_rest(
    head: str,
    rows: Sequence[Row],
    predictions: Sequence[Prediction],
    open_rest: Callable[[], RestClient],
) -> Latency:
    """Predicts some rows again over REST, and checks that both transports agree."""
    seconds: list[float] = []
    with closing(open_rest()) as rest:
        for (content, _), expected in list(zip(rows, predictions, strict=True))[:REST_ROWS]:
            started = time.perf_counter()
            answer = rest.predict(head, content)
            seconds.append(time.perf_counter() - started)
            off = abs(answer.get("probability", math.inf) - expected.probability)
            if answer.get("label") != expected.label or off > PROBABILITY_TOLERANCE:
                raise DemoError(f"REST and gRPC disagree: {answer} is not {expected}")
    return Latency.of(seconds)


def _give_feedback(
    head: str,
    rows: Sequence[Row],
    predictions: Sequence[Prediction],
    client: Client,
    open_rest: Callable[[], RestClient],
) -> int:
    """Sends the right labels of the rows the head was least sure of, one of them over REST."""
    pairs = sorted(zip(predictions, rows, strict=True), key=lambda pair: pair[0].probability)
    (_, least_sure), *others = pairs[:FEEDBACK_ROWS]
    labels = [(Digest(prediction.digest), label) for prediction, (_, label) in others]
    sound("feedback", client.feedback(head, labels))
    with closing(open_rest()) as rest:
        rest.feedback(head, *least_sure)
    stored, sent = client.get_head(head).feedback_count, 1 + len(others)
    if stored != sent:
        raise DemoError(f"the server counts {stored} feedbacks, {sent} were sent")
    return stored
