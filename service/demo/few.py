"""A head of few examples that gets better with every correction it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from service.demo import progress
from service.demo.data import Labelled, Task
from service.demo.errors import sound
from trunkline import Client, HeadSpec
from trunkline.cli.report import live_copy_of, write_page

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


def run(task: Task, client: Client) -> FewShotResult:
    """Trains on a few examples of each class, then lets feedback do the rest.

    Each input of the stream is predicted, and then the right label is sent, as users would.

    Raises:
        DemoError: a row failed.
        TrunklineError: what the client raises.
    """
    head = f"{task.head.split('/')[0]}/{HEAD}"
    first, stream = _split(task.training)
    progress.title(f"{head}: {len(first)} {task.about}, then feedback (policy: immediate)")
    client.create_head(head, task.backbone, HeadSpec(family=FAMILY), policy="immediate")
    sound("upload", client.upload(head, first).failures)
    client.train(head)
    points = [(0, _right(head, task.held_out, client) / len(task.held_out))]
    right = 0
    with progress.bar("feedback", len(stream)) as set_done:
        for start, end in pairwise(count for count in FEEDBACKS if count <= len(stream)):
            for sent, item in enumerate(stream[start:end], start + 1):
                right += _right(head, [item], client)
                sound("feedback", client.feedback(head, [item]))
                set_done(sent)
            points.append((end, _right(head, task.held_out, client) / len(task.held_out)))
    progress.done(
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


def write_report(head: str, client: Client, page: Path) -> None:
    """Writes the head's report page, as `trunkline report` does.

    Raises:
        OSError: the page cannot be written.
        TrunklineError: what the client raises.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    report = client.report(head)
    write_page(page, report, live_copy_of(client, head, report), names={})
    progress.done(f"wrote its report to {page}")


def _split(items: Sequence[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    """Returns the first few examples of each class, and the others in their order."""
    by_class = groupby(sorted(items, key=lambda item: item[1]), key=lambda item: item[1])
    first = [item for _, group in by_class for item in list(group)[:PER_CLASS]]
    return first, [item for item in items if item not in first]


def _right(head: str, rows: Sequence[Labelled], client: Client) -> int:
    """Returns how many rows the head predicts rightly."""
    outcomes = sound("prediction", client.predict(head, [item for item, _ in rows]))
    return sum(p.label == label for p, (_, label) in zip(outcomes, rows, strict=True))
