"""`trunkline predict` and `trunkline feedback`."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import click

from trunkline.chunking import MAX_MESSAGE_ROWS, split
from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.output import Failure, Output, one_line
from trunkline.client import Client
from trunkline.datasets import read_inputs
from trunkline.inputs import Image, Text
from trunkline.values import Prediction, RowFailure

_SHOWN_TEXT = 60


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
@click.option(
    "--version", type=click.IntRange(min=1), help="The version (default: the active one)."
)
@client_command
def predict(
    client: Client,
    out: Output,
    head: str,
    paths: tuple[Path, ...],
    texts: tuple[str, ...],
    top: int | None,
    version: int | None,
) -> None:
    """Classify images or texts.

    A PATH is an image file, a folder of images, or a CSV, TSV or JSONL file with a `text` or a
    `path` column. With --json there is one JSON line for each row, in order. Exits 1 if any row
    failed, after printing all of them.
    """
    if not paths and not texts:
        raise click.UsageError("Give a PATH or --text.")
    inputs: Iterable[Image | Text] = chain(
        chain.from_iterable(map(read_inputs, paths)), map(Text, texts)
    )
    failed = False
    for item, outcome in predicted(client, head, inputs, top or 0, version):
        failed |= isinstance(outcome, RowFailure)
        if out.as_json:
            out.line(_row(item, outcome))
        else:
            click.echo(_words(item, outcome))
    if failed:
        raise click.exceptions.Exit(1)


@click.command(short_help="Tell a head the right label of an input.")
@head_argument
@click.argument("words", nargs=-1, required=True, metavar="PATH|--text TEXT LABEL")
@click.option("--text", metavar="TEXT", help="The text, in place of the PATH of an image.")
@client_command
def feedback(
    client: Client, out: Output, head: str, words: tuple[str, ...], text: str | None
) -> None:
    """Tell a head the right label of an input: of the image in PATH, or of a text.

    It is stored durably, and used by the next training.
    """
    if len(words) != (2 if text is None else 1):
        raise click.UsageError("Give PATH LABEL, or --text TEXT LABEL.")
    label = words[-1]
    item = Image.open(words[0]) if text is None else Text(text)
    (outcome,) = client.feedback(head, [(item, label)])
    if isinstance(outcome, RowFailure):
        raise Failure(_described(outcome))
    if out.as_json:
        out.document({"head": head, "label": label, "receipt": outcome})
    else:
        click.echo(f"stored as {outcome.id}")


def predicted(
    client: Client, head: str, inputs: Iterable[Image | Text], top_k: int, version: int | None
) -> Iterator[tuple[Image | Text, Prediction | RowFailure]]:
    """Each input with its outcome, in order, request by request."""
    for part in split(inputs, lambda _: 0, max_rows=MAX_MESSAGE_ROWS, max_bytes=0):
        yield from zip(part, client.predict(head, part, top_k, version), strict=True)


def input_name(item: Image | Text) -> str:
    """What a person calls the input: its path, or the text itself."""
    return str(item.path) if isinstance(item, Image) else str(item.text)


def _row(item: Image | Text, outcome: Prediction | RowFailure) -> dict[str, object]:
    row: dict[str, object] = {"path" if isinstance(item, Image) else "text": input_name(item)}
    if isinstance(outcome, RowFailure):
        details = {
            "message": outcome.message,
            "field": outcome.field,
            "limit": outcome.limit,
            "value": outcome.value,
        }
        error = {name: value for name, value in details.items() if value}
        return row | {"error": {"code": outcome.code, **error}}
    return row | {
        "label": outcome.label,
        "probability": outcome.probability,
        "scores": outcome.scores,
        "version": outcome.version,
        "digest": outcome.digest,
    }


def _words(item: Image | Text, outcome: Prediction | RowFailure) -> str:
    name = one_line(input_name(item))
    if isinstance(item, Text) and len(name) > _SHOWN_TEXT:
        name = name[: _SHOWN_TEXT - 1] + "…"
    if isinstance(outcome, RowFailure):
        return f"{name}\terror: {one_line(_described(outcome))}"
    return f"{name}\t{outcome.label}\t{outcome.probability:.4f}"


def _described(failure: RowFailure) -> str:
    named = {"field": failure.field, "limit": failure.limit, "value": failure.value}
    details = ", ".join(f"{name} {value}" for name, value in named.items() if value)
    return f"{failure.message} ({details})" if details else failure.message
