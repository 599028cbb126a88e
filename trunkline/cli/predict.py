"""`trunkline predict`."""

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import click

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.connection import client_command, head_argument, version_option
from trunkline.cli.interrupts import if_interrupted
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Output
from trunkline.cli.predictions.answers_file import Answered, check_same, read_answers
from trunkline.cli.predictions.destination import Destination
from trunkline.cli.predictions.inputs import STANDARD_INPUT, Given
from trunkline.cli.predictions.progress import predicting
from trunkline.cli.predictions.requests import Outcome, outcomes_of
from trunkline.cli.predictions.rows import Form
from trunkline.cli.predictions.standard_input import JSON_LINES, PATHS, TEXTS
from trunkline.clients.client import Client
from trunkline.datasets import Columns, FileInput, Notes
from trunkline.errors import TrunklineError
from trunkline.values.inputs import Image, Text
from trunkline.wording import counted, size

_MOST_COLUMNS = 1_000


@click.command()
@head_argument
@click.argument("words", nargs=-1, metavar="PATH...", type=click.Path(allow_dash=True))
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text (repeatable).")
@click.option(
    "--stdin",
    "kind",
    type=click.Choice([PATHS, TEXTS, JSON_LINES]),
    help="What the lines of standard input (PATH `-`) are (default: JSON lines, if the first is "
    "an object with a `text` or a `path`, else texts for a head for texts, paths for images).",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="K",
    help="Show K classes (default: one; with --json all).",
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
@click.option(
    "--capture",
    type=click.Choice(["always", "never"]),
    help="Keep the inputs for people to look at, or do not (default: as the head's rules say).",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a line of column names.")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the rows to a new file: CSV with --csv or if it is called so, else JSON lines.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Leave out the rows that the file of --output has, and append the others.",
)
@column_options(labelled=False)
@client_command
def predict(
    client: Client,
    out: Output,
    head: str,
    words: tuple[str, ...],
    texts: tuple[str, ...],
    kind: str | None,
    top: int | None,
    version: int | None,
    level: float | None,
    average_views: int | None,
    capture: str | None,
    as_csv: bool,
    output: Path | None,
    resume: bool,
    columns: Columns,
) -> None:
    """Classify images or texts.

    A PATH is an image file, a `.txt` file with a text, a folder of such files, a CSV, TSV or JSONL
    file with a `text` or a `path` column, or `-`: then the lines of standard input are answered as
    they come. With --json there is one JSON line for each row, in order. Exits 1 if any row
    failed, after printing all of them, and says at the end what was left out.
    """
    as_csv |= output is not None and output.suffix.lower() == ".csv" and not out.as_json
    given = Given(client, head, words, texts, columns, kind, Notes())
    _check_usage(given, top, as_csv=as_csv, as_json=out.as_json)
    if resume and output is None:
        raise click.UsageError("--resume goes on with the file of --output: name it.")
    form = Form(head, top, as_csv=as_csv, as_json=out.as_json or output is not None)
    before = None
    if output is not None and resume:
        before = read_answers(output, form)
        if before.rows:
            answering = version or client.get_head(head).active_version
            check_same(output, before, head, answering)
        _say_before(out, output, before)
    ask = partial(
        client.predict,
        head,
        top_k=form.classes,
        version=version,
        conformal_level=level,
        average_views=average_views,
        capture=capture,
    )
    with Destination(form, output, before) as rows:
        last = _answer(out, given, ask, rows)
    out.notices(given.notes.notices())
    if rows.unseen:
        kept = counted(rows.unseen, "row")
        out.say(f"{kept} of {output}: not among the inputs that are given now")
    if output is not None:
        out.say(rows.words())
    if rows.failed:
        raise click.exceptions.Exit(1)
    next_step(out, "feedback", head, *_corrected(given, last), "LABEL")


def _check_usage(given: Given, top: int | None, *, as_csv: bool, as_json: bool) -> None:
    if not given.words and not given.texts:
        raise click.UsageError("Give a PATH, - or --text.")
    if given.words.count(STANDARD_INPUT) > 1:
        raise click.UsageError("Standard input (-) can be read once.")
    if STANDARD_INPUT in given.words:
        if sys.stdin is None:
            raise click.UsageError("Standard input is closed.")
        if given.kind in (PATHS, TEXTS):
            check_columns(given.columns, *given.paths)
        if given.is_typed:
            click.echo("one input a line; Ctrl-D ends", err=True)
    else:
        check_columns(given.columns, *given.paths)
        if given.kind is not None:
            raise click.UsageError("--stdin says what standard input is: give - as a PATH.")
    if as_csv and as_json:
        raise click.UsageError("Give --csv or --json.")
    if as_csv and (top or 0) > _MOST_COLUMNS:
        raise click.UsageError(f"With --csv, --top may be {_MOST_COLUMNS:,} at most.")


def _say_before(out: Output, output: Path, before: Answered) -> None:
    """Says what the file has of an earlier run."""
    if before.rows:
        failed = f", {before.failed:,} of them failed" if before.failed else ""
        out.say(f"{output} has {counted(before.rows, 'row')}{failed}; the others are added")
    if before.half:
        out.say(f"{output} ends with half a line ({size(before.half)}), which is done again")


def _answer(
    out: Output,
    given: Given,
    ask: Callable[[list[FileInput]], list[Outcome]],
    rows: Destination,
) -> FileInput | None:
    """Writes a row for each input that is not answered yet; returns the last of them."""
    item = None
    parts = filter(None, map(rows.unanswered, given.parts()))
    # It would come between the rows, or between the lines that are typed.
    in_the_way = (sys.stdout.isatty() and not rows.is_file) or given.is_typed

    def so_far() -> str:
        return f"{rows.words()}{rows.how_to_go_on()}"

    try:
        with (
            if_interrupted(so_far),
            predicting(out, given.count, before=rows.before, shown=not in_the_way) as advance,
            closing(outcomes_of(ask, parts)) as outcomes,
        ):
            for item, outcome in outcomes:
                rows.add(item, outcome)
                advance()
    except (TrunklineError, OSError):
        if rows.is_file:
            out.say(f"stopped: {so_far()}")
        raise
    return item


def _corrected(given: Given, last: FileInput | None) -> Sequence[str]:
    """Returns how `trunkline feedback` names such an input, by the file if one alone was given."""
    if given.texts:
        return "--text", given.texts[0]
    if isinstance(last, Text):
        return "--text", "TEXT"
    if isinstance(last, Image) and [str(last.path)] == [str(path) for path in given.paths]:
        return (str(last.path),)
    return ("PATH",)
