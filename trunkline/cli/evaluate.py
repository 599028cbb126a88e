"""`trunkline evaluate`: a version against labelled data that it has not learned from."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.progress import MofNCompleteColumn

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.interrupts import if_interrupted
from trunkline.cli.naming import digest_of, found_at
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Failure, Output, named_failures
from trunkline.cli.predictions.requests import predicted
from trunkline.cli.reading import check_modality, read_data
from trunkline.cli.time_left import TimeLeftColumn, tracked
from trunkline.clients.client import Client
from trunkline.datasets import Columns, FileInput
from trunkline.labels import normalised
from trunkline.values.notices import Notice, notices_of
from trunkline.values.outcomes import RowFailure
from trunkline.wording import counted, percent

Rows = Sequence[tuple[FileInput, str]]

_AT_ONCE = 1000
"""Digests in one request."""
_NORMAL_95 = 1.959964
"""Quantile of the normal distribution: 95 % lie within so many standard deviations."""


@dataclass(frozen=True)
class _ClassFigures:
    """How well one class was recognised; None where it is not defined."""

    label: str
    examples: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class _Figures:
    """A version on labelled data.

    `low` and `high` are the 95 % interval of the accuracy, if the rows are independent. Rows of
    `confusion` are true classes, columns predicted ones, both in the order of `classes`.
    """

    rows: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    classes: tuple[_ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]


@click.command()
@head_argument
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option(
    "--version", type=click.IntRange(min=1), help="The version (default: the active one)."
)
@click.option(
    "--with-trained",
    is_flag=True,
    help="Measure on what the head was trained on, too, which makes the accuracy too high.",
)
@column_options(labelled=True)
@client_command
def evaluate(
    client: Client,
    out: Output,
    head: str,
    path: Path,
    version: int | None,
    with_trained: bool,
    columns: Columns,
) -> None:
    """Measure a version on the labelled examples in PATH, which are not stored.

    PATH is as for `trunkline train`. What the head has stored to learn from is left out, and said:
    a version knows it. Exits 1 if any row failed; the others are measured.
    """
    check_columns(columns, path)
    data = read_data(path, columns, test=True)
    check_modality(data)
    out.notices(data.notices)
    asked = client.get_version(head, version)
    rows = [pair for row, pair in enumerate(data.pairs) if row not in data.overruled]
    out.notices(_unknown_classes(rows, asked.labels))
    new, stored = _parted(client, head, rows)
    fate = "measured on as well: the accuracy is too high" if with_trained else "left out"
    names = (found_at(item) for item, _ in stored)
    out.notices(notices_of("test_trained_on", names, f"stored to learn from, {fate}", "row"))
    measured = rows if with_trained else new
    if not measured:
        more = "; --with-trained measures on what is stored to learn from" if stored else ""
        raise Failure(f"{path}: there is nothing to measure on{more}")
    answers, failures = _answers(client, out, head, measured, asked.version)
    out.failures(failures)
    if not answers:
        raise Failure(f"{path}: there is nothing to measure on")
    figures = _figures(answers)
    if out.as_json:
        counts = {"left_out": 0 if with_trained else len(stored), "failed": len(failures)}
        document = {"head": head, "version": asked.version, **counts, **vars(figures)}
        out.document(document | {"failures": named_failures(failures), "notices": out.noticed})
    else:
        _print(out, asked.version, figures)
    if failures:
        raise click.exceptions.Exit(1)
    if asked.active:
        next_step(out, "report", head)
    else:
        next_step(out, "heads", "activate", head, str(asked.version))


def _parted(client: Client, head: str, rows: Rows) -> tuple[Rows, Rows]:
    """Returns the rows that the head has not stored to learn from, and those that it has."""
    digests = [digest_of(item) for item, _ in rows]
    asked = [digest for digest in digests if digest]
    learned: set[str | None] = set()
    for begin in range(0, len(asked), _AT_ONCE):
        found = client.list_examples(head, digests=asked[begin : begin + _AT_ONCE])
        learned |= {row.digest for row in found if row.label is not None and not row.held_out}
    known = [digest in learned for digest in digests]
    new = [row for row, stored in zip(rows, known, strict=True) if not stored]
    return new, [row for row, stored in zip(rows, known, strict=True) if stored]


def _unknown_classes(rows: Rows, labels: Sequence[str]) -> list[Notice]:
    """Returns a notice of classes that the version does not have: nothing in them can be right."""
    known = set(labels)
    unknown = Counter(label for _, label in rows if label and normalised(label) not in known)
    classes = counted(len(unknown), "class", "classes")
    words = f"{classes} ({counted(unknown.total(), 'row')}) that the version does not have"
    return [Notice("unknown_test_label", words, len(unknown), tuple(unknown))] if unknown else []


def _answers(
    client: Client, out: Output, head: str, rows: Rows, version: int
) -> tuple[Counter[tuple[str, str]], list[tuple[str, RowFailure]]]:
    """Counts pairs of true and predicted labels; returns the rows that failed, too."""
    answers = Counter[tuple[str, str]]()
    failures: list[tuple[str, RowFailure]] = []

    def words() -> str:
        done = f"{answers.total() + len(failures):,} of {counted(len(rows), 'row')}"
        return f"looked at {done}; nothing is stored, and the same command begins anew"

    with if_interrupted(words), out.progress(MofNCompleteColumn(), TimeLeftColumn()) as bar:
        outcomes = predicted(client, head, [item for item, _ in rows], version=version, top_k=1)
        shown = tracked(bar, outcomes, len(rows), "evaluating")
        for (item, outcome), (_, label) in zip(shown, rows, strict=True):
            if isinstance(outcome, RowFailure):
                failures.append((found_at(item), outcome))
            else:
                answers[normalised(label), outcome.label or ""] += 1
    return answers, failures


def _figures(answers: Counter[tuple[str, str]]) -> _Figures:
    labels = sorted({label for pair in answers for label in pair})
    rows = answers.total()
    right = sum(answers[label, label] for label in labels)
    low, high = _wilson(right, rows)
    return _Figures(
        rows,
        right / rows,
        low,
        high,
        tuple(_class_figures(answers, labels, label) for label in labels),
        tuple(tuple(answers[true, taken] for taken in labels) for true in labels),
    )


def _class_figures(
    answers: Counter[tuple[str, str]], labels: Sequence[str], label: str
) -> _ClassFigures:
    right = answers[label, label]
    examples = sum(answers[label, other] for other in labels)
    taken = sum(answers[other, label] for other in labels)
    return _ClassFigures(
        label,
        examples,
        right / taken if taken else None,
        right / examples if examples else None,
        2 * right / (examples + taken) if examples else None,
    )


def _wilson(right: int, rows: int) -> tuple[float, float]:
    """Returns the 95 % score interval of a share (Wilson 1927)."""
    share, squared = right / rows, _NORMAL_95**2
    middle = share + squared / (2 * rows)
    width = _NORMAL_95 * math.sqrt(share * (1 - share) / rows + squared / (4 * rows**2))
    scale = 1 + squared / rows
    return max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)


def _print(out: Output, version: int, figures: _Figures) -> None:
    interval = f"{figures.accuracy_low:.1%} to {figures.accuracy_high:.1%}"
    out.facts(
        {
            "version": version,
            "measured on": counted(figures.rows, "row"),
            "accuracy": f"{figures.accuracy:.1%} ({interval})",
        }
    )
    out.table(
        ["class", "examples", "precision", "recall", "F1"],
        [
            (row.label, row.examples, *map(percent, (row.precision, row.recall, row.f1)))
            for row in figures.classes
        ],
        title="classes",
    )
    labels = [row.label for row in figures.classes]
    out.matrix(labels, figures.confusion, title="confusion matrix")
