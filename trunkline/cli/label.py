"""`trunkline label`: what is most worth a label is shown, and labels are taken."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import click

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.interrupts import if_interrupted
from trunkline.cli.labelling.answers import Answers
from trunkline.cli.labelling.questions import Command, Questions
from trunkline.cli.labelling.session import Session
from trunkline.cli.labelling.suggested import Suggested
from trunkline.cli.labelling.viewer import Viewer
from trunkline.cli.naming import digest_of
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Output, named_failures
from trunkline.cli.reading import check_readable, repeat_notice, repeated_inputs
from trunkline.cli.upload_steps import (
    failures_of,
    find_or_create,
    names_option,
    train_head,
    upload,
)
from trunkline.clients.client import Client
from trunkline.datasets import Columns, FileInput, Notes, name_below, read_inputs
from trunkline.labels import visible
from trunkline.values.examples import NewExample
from trunkline.values.outcomes import RowFailure
from trunkline.wording import accuracy


@click.command(short_help="Label the stored inputs that are most worth it.")
@head_argument
@click.argument("path", metavar="[PATH]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--count",
    type=click.IntRange(min=1, max=1000),
    default=10,
    show_default=True,
    help="How many to ask for.",
)
@click.option(
    "--strategy",
    type=click.Choice(["margin", "diverse", "random"]),
    help="How to choose them (default: the server's choice).",
)
@click.option("--open", "opened", is_flag=True, help="Open each in the system's viewer.")
@click.option("--train", "train_after", is_flag=True, help="Train a version at the end.")
@click.option(
    "--backbone", metavar="NAME", help="Backbone of a new head (default: by the data's modality)."
)
@names_option
@column_options(labelled=False)
@client_command
def label(
    client: Client,
    out: Output,
    head: str,
    path: Path | None,
    count: int,
    strategy: str | None,
    opened: bool,
    train_after: bool,
    backbone: str | None,
    no_names: bool,
    columns: Columns,
) -> None:
    """Label the inputs that a head has stored without one and that are most worth it.

    The inputs in PATH (a folder of images, or a table; labels in it are ignored) that the head does
    not have are stored first. Then they are shown one by one, with what the head takes them for.
    Answer with Enter if that is right, with a label or its number, with s to skip, with b to take
    the answer before back, with q to quit. Exits 1 if an input could not be stored or labelled.
    """
    check_columns(columns, path)
    if path:
        path.stat()  # else it would fail as an input, and the questions begin all the same
    notes = Notes()
    inputs = list(read_inputs(path, columns, notes)) if path else []
    if path:
        check_readable(path, inputs)
    ids = [None if no_names or not path else name_below(path, item, notes) for item in inputs]
    out.notices([*notes.notices(), *repeat_notice(inputs, repeated_inputs(inputs))])
    if path:
        find_or_create(client, out, head, inputs, backbone=backbone)
    digests = [digest_of(item) for item in inputs]
    failures = _store_new(client, out, head, inputs, digests, ids)
    found = client.suggest_examples(head, count, strategy or "")
    files = {digest: item for digest, item in zip(digests, inputs, strict=True) if digest}
    suggested = Suggested(client, head, found.suggestions, files)
    known = [row.label for row in client.labels(head)]
    with Viewer(out) if opened else nullcontext() as viewer:
        questions, items = Questions(out, known), suggested.items()
        answers = Answers(out, items.name, suggested.store, unsent=(Command.SKIP,))
        session = Session(out, questions, items, answers, viewer)
        if found.suggestions:
            session.ask_all()
        else:
            out.say("nothing without a label is stored")
    failures += session.failures
    version = None
    if train_after and session.answers.labelled and not session.interrupt:
        version = train_head(client, out, head).version
    labelled = suggested.as_json(session.answers.labelled)
    _conclude(client, out, head, session, labelled, found.strategy, version, failures)
    if session.interrupt:
        with if_interrupted(lambda: "these answers are stored; the same command asks for others"):
            raise session.interrupt
    if failures:
        raise click.exceptions.Exit(1)
    if version:
        next_step(out, "report", head)
    elif session.answers.labelled:
        next_step(out, "train", head)
    elif not found.suggestions:
        next_step(out, "label", head, "PATH")


def _store_new(
    client: Client,
    out: Output,
    head: str,
    inputs: Sequence[FileInput],
    digests: Sequence[str | None],
    external_ids: Sequence[str | None],
) -> list[tuple[str, RowFailure]]:
    """Uploads the inputs that the head does not have, without labels; returns what failed."""
    if not inputs:
        return []
    stored = {row.digest for row in client.list_examples(head)}
    rows = zip(inputs, digests, external_ids, strict=True)
    new = [
        NewExample(item, external_id=name) for item, digest, name in rows if digest not in stored
    ]
    return failures_of(upload(client, out, head, new), new) if new else []


def _conclude(
    client: Client,
    out: Output,
    head: str,
    session: Session,
    labelled: Sequence[dict[str, object]],
    strategy: str,
    version: int | None,
    failures: Sequence[tuple[str, RowFailure]],
) -> None:
    """Prints what was labelled."""
    report = client.report(head, version) if version else None
    labels = Counter(session.answers.labelled.values())
    classes = ", ".join(f"{label} {count}" for label, count in labels.most_common())
    given = f" ({visible(classes)})" if classes else ""
    skipped = session.answers.count(Command.SKIP)
    words = f"labelled {labels.total()}{given}, skipped {skipped}"
    if session.failures:
        words += f", failed {len(session.failures)}"
    if report:
        estimate = f", estimated accuracy {accuracy(report.estimate)}" if report.estimate else ""
        words += f"\ntrained version {report.version}{estimate}"
    document = {
        "head": head,
        "strategy": strategy,
        "labelled": labelled,
        "skipped": skipped,
        "failures": named_failures(failures),
        "version": version,
        "report": report,
        "notices": out.noticed,
    }
    out.result(document, words)
