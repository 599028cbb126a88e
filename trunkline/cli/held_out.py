"""The test set of `trunkline train`: held out, and measured on as far as nothing of it is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.progress import MofNCompleteColumn

from trunkline.cli.interrupts import if_interrupted
from trunkline.cli.naming import digest_of, found_at
from trunkline.cli.output import Output
from trunkline.cli.predictions.requests import predicted
from trunkline.cli.reading import Data
from trunkline.cli.time_left import TimeLeftColumn, tracked
from trunkline.cli.upload_steps import upload
from trunkline.clients.client import Client
from trunkline.datasets import FileInput
from trunkline.labels import normalised
from trunkline.values.examples import NewExample
from trunkline.values.notices import Notice, notices_of
from trunkline.values.outcomes import RowFailure
from trunkline.values.reports import Report
from trunkline.wording import counted

Rows = Sequence[tuple[FileInput, str]]


@dataclass(frozen=True)
class Test:
    """How a version does on test examples that it was not trained on.

    Of the `rows`, `left_out` are trained on or near-copies of what is, and `failed` could not be
    read or predicted. `accuracy` is None where none remain.
    """

    rows: int
    left_out: int
    failed: int
    accuracy: float | None


def hold_out(
    client: Client, out: Output, head: str, tested: Data, trained: Data, *, overwrite: bool
) -> None:
    """Stores the test set, so that reports measure on it, too; what is trained on cannot be."""
    known = _digests(trained)
    held_out: list[NewExample] = []
    both: list[FileInput] = []
    for example, (item, _) in zip(tested.examples, tested.pairs, strict=True):
        if digest_of(item) in known:
            both.append(item)
        else:
            held_out.append(replace(example, held_out=True))
    if both:
        words = f"{len(both)} of {len(tested.examples)} test examples are trained on"
        if not held_out:
            words += ": there is nothing to measure on"
        out.notices([Notice("test_trained_on", words, len(both), tuple(map(found_at, both)))])
    if held_out:
        upload(client, out, head, held_out, overwrite=overwrite, noun="test example")


def measure(
    client: Client, out: Output, head: str, tested: Data, trained: Data, report: Report
) -> Test:
    """Predicts the test examples that are independent of what the version was trained on."""
    known, seen = _digests(trained), set(report.seen_held_out)
    rows = [(item, label) for item, label in tested.pairs if digest_of(item) not in known]
    copies = [item for item, _ in rows if digest_of(item) in seen]
    words = (
        "nearly the same as an example that is trained on, or of one group with it, and left out"
    )
    out.notices(notices_of("test_near_copies", map(found_at, copies), words, "test example"))
    rows = [(item, label) for item, label in rows if digest_of(item) not in seen]
    right, failed = _predict(client, out, head, rows, report.version)
    done = len(rows) - failed
    return Test(
        len(tested.examples),
        len(tested.examples) - len(rows),
        failed,
        right / done if done else None,
    )


def _digests(data: Data) -> set[str | None]:
    return {digest_of(item) for item, _ in data.pairs} - {None}


def _predict(client: Client, out: Output, head: str, rows: Rows, version: int) -> tuple[int, int]:
    """Returns how many rows were predicted rightly, and how many failed."""
    if not rows:
        return 0, 0
    failures: list[tuple[str, RowFailure]] = []
    right = done = 0

    def words() -> str:
        tested = f"{done:,} of {counted(len(rows), 'row')}"
        return f"version {version} is trained; {tested} of the test set were looked at"

    with if_interrupted(words), out.progress(MofNCompleteColumn(), TimeLeftColumn()) as bar:
        inputs = [item for item, _ in rows]
        outcomes = predicted(client, head, inputs, version=version, top_k=1)
        shown = tracked(bar, outcomes, len(rows), "testing")
        for (item, outcome), (_, label) in zip(shown, rows, strict=True):
            done += 1
            if isinstance(outcome, RowFailure):
                failures.append((found_at(item), outcome))
            else:
                right += outcome.label == normalised(label)
    out.failures(failures)
    return right, len(failures)
