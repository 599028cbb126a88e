"""`trunkline predict`."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import click

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.connection import client_command, head_argument, version_option
from trunkline.cli.naming import input_name, shown_name
from trunkline.cli.output import Output, failure_words, one_line
from trunkline.clients.client import Client
from trunkline.datasets import Columns, FileInput, Notes, read_inputs
from trunkline.rows.chunking import MAX_MESSAGE_ROWS, split
from trunkline.values.inputs import Image, Text
from trunkline.values.outcomes import Prediction, RowFailure


@click.command()
@head_argument
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text (repeatable).")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="K",
    help="How many classes to give scores for (default: all).",
)
@version_option
@click.option(
    "--level",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    metavar="P",
    help="Also print a set of classes that holds the right one with this probability, e.g. 0.9.",
)
@click.option(
    "--average-views",
    type=click.IntRange(min=0),
    metavar="N",
    help="Average over N views of each image, too; each costs another pass of the backbone "
    "(default: the head's own setting, which is 0 at first).",
)
@column_options(labelled=False)
@client_command
def predict(
    client: Client,
    out: Output,
    head: str,
    paths: tuple[Path, ...],
    texts: tuple[str, ...],
    top: int | None,
    version: int | None,
    level: float | None,
    average_views: int | None,
    columns: Columns,
) -> None:
    """Classify images or texts.

    A PATH is an image file, a folder of images, or a CSV, TSV or JSONL file with a `text` or a
    `path` column. With --json there is one JSON line for each row, in order. Exits 1 if any row
    failed, after printing all of them, and says at the end what was left out.
    """
    if not paths and not texts:
        raise click.UsageError("Give a PATH or --text.")
    check_columns(columns, *paths)
    notes = Notes()
    inputs: Iterable[FileInput] = chain(
        chain.from_iterable(read_inputs(path, columns, notes) for path in paths), map(Text, texts)
    )
    failed = False
    outcomes = predicted(
        client,
        head,
        inputs,
        top_k=top or 0,
        version=version,
        level=level,
        average_views=average_views,
    )
    for item, outcome in outcomes:
        failed |= isinstance(outcome, RowFailure)
        if out.as_json:
            out.line(_row(item, outcome))
        else:
            click.echo(_words(item, outcome))
    out.notices(notes.notices())
    if failed:
        raise click.exceptions.Exit(1)


def predicted(
    client: Client,
    head: str,
    inputs: Iterable[FileInput],
    *,
    top_k: int,
    version: int | None,
    level: float | None = None,
    average_views: int | None = None,
) -> Iterator[tuple[FileInput, Prediction | RowFailure]]:
    """Predicts request by request; yields each input with its outcome, in order."""
    for part in split(inputs, max_rows=MAX_MESSAGE_ROWS):
        outcomes = client.predict(
            head, part, top_k, version, conformal_level=level, average_views=average_views
        )
        yield from zip(part, outcomes, strict=True)


def _row(item: FileInput, outcome: Prediction | RowFailure) -> dict[str, object]:
    kind = {Image: "path", Text: "text"}.get(type(item), "row")
    row: dict[str, object] = {kind: input_name(item)}
    if isinstance(outcome, RowFailure):
        details = {
            "message": outcome.message,
            "field": outcome.field,
            "limit": outcome.limit,
            "value": outcome.value,
        }
        error = {name: value for name, value in details.items() if value}
        return row | {"error": {"code": outcome.code, **error}}
    row |= {
        "label": outcome.label,
        "probability": outcome.probability,
        "scores": outcome.scores,
        "version": outcome.version,
        "live": outcome.live,
        "digest": outcome.digest,
    }
    if outcome.truncated:
        row["truncated"] = True
    if outcome.prediction_set is not None:
        row["set"] = outcome.prediction_set
    if outcome.novelty is not None:
        novel = {"novelty": outcome.novelty, "novel": outcome.novel}
        row |= novel | {"abstained": outcome.abstained}
    return row


def _words(item: FileInput, outcome: Prediction | RowFailure) -> str:
    """Returns name, label and probability between tabs; then set, "novel", "truncated", if any."""
    name = shown_name(item)
    if isinstance(outcome, RowFailure):
        return f"{name}\terror: {one_line(failure_words(outcome))}"
    words = [name, outcome.label or "-", f"{outcome.probability:.4f}" if outcome.label else "-"]
    if outcome.prediction_set is not None:
        words.append("{" + ", ".join(outcome.prediction_set) + "}")
    if outcome.novel:
        words.append(f"novel ({outcome.novelty:.2f})")
    if outcome.truncated:
        words.append("truncated")
    return "\t".join(words)
