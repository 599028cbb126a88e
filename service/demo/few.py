"""A head of few examples that gets better with every correction it is sent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from service.demo.data import Labelled, Task
from service.demo.errors import DemoError
from service.demo.progress import Narrator
from trunkline import Client, HeadSpec, Prediction, RowFailure

HEAD = "few"
PER_CLASS = 3
FAMILY = "ridge"
"""Named, because feedback keeps the family: what suits three examples a class best may be a
nearest mean, which gains least from more of them."""

FEEDBACKS = (0, 25, 50, 100, 200, 400)
"""How much feedback has been sent when the head is measured."""


@dataclass(frozen=True)
class FewShotResult:
    """What a head of few examples came to on held-out data; accuracies run from 0 to 1.

    `points` pairs the number of feedbacks with the accuracy after them; `versions` counts the
    trainings, of which feedback needs none.
    """

    head: str
    examples: int
    held_out: int
    points: tuple[tuple[int, float], ...]
    right_first: int
    sent: int
    versions: int


def run(task: Task, client: Client, narrator: Narrator) -> FewShotResult:
    """Trains on a few examples of each class, then lets feedback do the rest.

    Each input of the stream is predicted, and then the right label is sent, as users would.

    Raises:
        DemoError: a row failed.
        TrunklineError: what the client raises.
    """
    head = f"{task.head.split('/')[0]}/{HEAD}"
    first, stream = _split(task.training)
    narrator.title(f"{head}: {len(first)} {task.about}, then feedback (policy: immediate)")
    client.create_head(head, task.backbone, HeadSpec(family=FAMILY), policy="immediate")
    upload = client.upload(head, first)
    if upload.failed:
        raise DemoError(f"{upload.failed} examples failed: {upload.failures[0].message}")
    client.train(head)
    points = [(0, _accuracy(head, task.held_out, client))]
    right = 0
    with narrator.bar("feedback", len(stream)) as bar:
        for start, end in pairwise(count for count in FEEDBACKS if count <= len(stream)):
            for item in stream[start:end]:
                right += _predict_and_correct(head, item, client)
                bar.advance()
            points.append((end, _accuracy(head, task.held_out, client)))
    narrator.done(
        f"accuracy on {len(task.held_out)} held-out rows: "
        + ", ".join(f"{accuracy:.1%} after {count}" for count, accuracy in points)
    )
    return FewShotResult(
        head=head,
        examples=len(first),
        held_out=len(task.held_out),
        points=tuple(points),
        right_first=right,
        sent=points[-1][0],
        versions=len(list(client.versions(head))),
    )


def write_report(head: str, server: str, page: Path) -> None:
    """Writes the head's report page as a user would, with the command line.

    Raises:
        DemoError: it failed.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "trunkline", "report", head, "--html", str(page)]
    done = subprocess.run(
        [*command, "--server", server], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise DemoError(f"the report could not be written: {done.stderr.strip()}")


def _split(items: Sequence[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    """Returns the first few examples of each class, and the others in their order."""
    by_class = groupby(sorted(items, key=lambda item: item[1]), key=lambda item: item[1])
    first = [item for _, group in by_class for item in list(group)[:PER_CLASS]]
    return first, [item for item in items if item not in first]


def _predict_and_correct(head: str, item: Labelled, client: Client) -> bool:
    content, label = _content(item), item[1]
    prediction = _sound(client.predict(head, [content]))[0]
    (receipt,) = client.feedback(head, [(content, label)])
    if isinstance(receipt, RowFailure):
        raise DemoError(f"feedback failed: {receipt.message}")
    return prediction.label == label


def _accuracy(head: str, rows: Sequence[Labelled], client: Client) -> float:
    predictions = _sound(client.predict(head, [_content(row) for row in rows]))
    right = sum(p.label == row[1] for p, row in zip(predictions, rows, strict=True))
    return right / len(rows)


def _sound(outcomes: Sequence[Prediction | RowFailure]) -> list[Prediction]:
    for outcome in outcomes:
        if isinstance(outcome, RowFailure):
            raise DemoError(f"a prediction failed: {outcome.message}")
    return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]


def _content(item: Labelled) -> bytes | str:
    return item[0].read_bytes() if isinstance(item[0], Path) else item[0]
