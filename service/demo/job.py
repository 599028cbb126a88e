"""The main job of one tenant: create, upload, train, predict over both transports, correct."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.demo.data import Task
from service.demo.errors import DemoError
from service.demo.progress import Narrator
from service.demo.rest import RestClient
from trunkline import Client, Digest, Prediction, Report, RowFailure, Training, UploadProgress

REST_ROWS = 100
FEEDBACK_ROWS = 20
PROBABILITY_TOLERANCE = 1e-6


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


@dataclass(frozen=True)
class _Loaded:
    content: bytes | str
    label: str


def run(task: Task, client: Client, rest: str, narrator: Narrator) -> Outcome:
    """Runs the job and measures it.

    Args:
        rest: address of the REST side, e.g. ``http://127.0.0.1:3000``.

    Raises:
        DemoError: a row failed, or the transports disagree.
        TrunklineError: what the client raises.
    """
    narrator.title(f"{task.head}: {task.about}")
    client.create_head(task.head, task.backbone)
    upload_seconds = _upload(task, client, narrator)
    training_seconds = _train(task, client, narrator)
    report = client.report(task.head)
    rows = [_Loaded(_content(item), label) for item, label in task.held_out]
    with narrator.bar("predict", 2 * len(rows)) as bar:
        predictions, cold = _predict(task.head, rows, client, bar.advance)
        _, cached = _predict(task.head, rows, client, bar.advance)
    rest_cached = _predict_over_rest(task.head, rows, predictions, rest)
    right = sum(p.label == row.label for p, row in zip(predictions, rows, strict=True))
    feedback = _give_feedback(task.head, rows, predictions, client, rest)
    accuracy = right / len(rows)
    narrator.done(
        f"predicted {len(rows)} held-out rows cold and cached over gRPC, "
        f"{min(REST_ROWS, len(rows))} over REST: {accuracy:.1%} right"
    )
    narrator.done(f"sent {feedback} labels as feedback")
    return _outcome(
        task,
        report,
        accuracy=accuracy,
        seconds=(upload_seconds, training_seconds),
        latencies=(cold, cached, rest_cached),
        feedback=feedback,
    )


def _upload(task: Task, client: Client, narrator: Narrator) -> float:
    started = time.perf_counter()
    with narrator.bar("upload", len(task.training)) as bar:

        def on_progress(now: UploadProgress) -> None:
            bar.set(now.rows)

        upload = client.upload(task.head, task.training, on_progress)
    if upload.failed:
        raise DemoError(f"{upload.failed} examples failed: {upload.failures[0].message}")
    seconds = time.perf_counter() - started
    rate = upload.rows / seconds
    narrator.done(f"uploaded and embedded {upload.rows} examples in {seconds:.1f} s ({rate:.0f}/s)")
    return seconds


def _train(task: Task, client: Client, narrator: Narrator) -> float:
    started = time.perf_counter()
    with narrator.bar("train", 1.0) as bar:

        def on_progress(now: Training) -> None:
            bar.set(now.progress)

        training = client.train(task.head, on_progress=on_progress)
    seconds = time.perf_counter() - started
    narrator.done(f"trained version {training.version} in {seconds:.1f} s")
    return seconds


def _predict(
    head: str, rows: Sequence[_Loaded], client: Client, advance: Callable[[], None]
) -> tuple[list[Prediction], Latency]:
    """Predicts row by row, one request each."""
    predictions: list[Prediction] = []
    seconds: list[float] = []
    for row in rows:
        started = time.perf_counter()
        (outcome,) = client.predict(head, [row.content])
        seconds.append(time.perf_counter() - started)
        if isinstance(outcome, RowFailure):
            raise DemoError(f"a prediction failed: {outcome.message}")
        predictions.append(outcome)
        advance()
    return predictions, Latency.of(seconds)


def _predict_over_rest(
    head: str, rows: Sequence[_Loaded], predictions: Sequence[Prediction], address: str
) -> Latency:
    """Predicts some rows again over REST, and checks that both transports agree."""
    seconds: list[float] = []
    with RestClient(address) as rest:
        for row, expected in list(zip(rows, predictions, strict=True))[:REST_ROWS]:
            started = time.perf_counter()
            answer = rest.predict(head, row.content)
            seconds.append(time.perf_counter() - started)
            off = abs(answer.get("probability", math.inf) - expected.probability)
            if answer.get("label") != expected.label or off > PROBABILITY_TOLERANCE:
                raise DemoError(f"REST and gRPC disagree: {answer} is not {expected}")
    return Latency.of(seconds)


def _give_feedback(
    head: str,
    rows: Sequence[_Loaded],
    predictions: Sequence[Prediction],
    client: Client,
    address: str,
) -> int:
    """Sends the right labels of the rows the head was least sure of, one of them over REST."""
    pairs = sorted(zip(predictions, rows, strict=True), key=lambda pair: pair[0].probability)
    unsure = pairs[:FEEDBACK_ROWS]
    receipts = client.feedback(head, [(Digest(p.digest), row.label) for p, row in unsure[1:]])
    for receipt in receipts:
        if isinstance(receipt, RowFailure):
            raise DemoError(f"feedback failed: {receipt.message}")
    with RestClient(address) as rest:
        rest.feedback(head, unsure[0][1].content, unsure[0][1].label)
    stored = client.get_head(head).feedback_count
    if stored != len(unsure):
        raise DemoError(f"the server counts {stored} feedbacks, {len(unsure)} were sent")
    return stored


def _content(item: Path | str) -> bytes | str:
    return item if isinstance(item, str) else item.read_bytes()


def _outcome(
    task: Task,
    report: Report,
    *,
    accuracy: float,
    seconds: tuple[float, float],
    latencies: tuple[Latency, Latency, Latency],
    feedback: int,
) -> Outcome:
    if report.estimate is None:
        raise DemoError(f"{task.head} has no estimate of its accuracy")
    return Outcome(
        head=task.head,
        about=task.about,
        backbone=report.backbone,
        classes=len(report.classes),
        examples=report.example_count,
        held_out=len(task.held_out),
        family=report.family,
        estimated_accuracy=report.estimate.accuracy,
        estimated_low=report.estimate.accuracy_low,
        estimated_high=report.estimate.accuracy_high,
        held_out_accuracy=accuracy,
        upload_seconds=seconds[0],
        training_seconds=seconds[1],
        cold=latencies[0],
        cached=latencies[1],
        rest_cached=latencies[2],
        feedback=feedback,
    )
