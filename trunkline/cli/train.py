"""`trunkline train`: from a folder or table to a trained, active version."""

import sys
from pathlib import Path

import click

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.held_out import Test, hold_out, measure
from trunkline.cli.next_step import next_after_version
from trunkline.cli.output import Output, named_failures, plain
from trunkline.cli.reading import (
    Data,
    check_classes,
    check_modality,
    read_data,
    unknown_labels,
)
from trunkline.cli.report import report_facts
from trunkline.cli.stored import compare_with_stored
from trunkline.cli.training_options import WHOLE, SpecOptions, policy_option, spec_options
from trunkline.cli.upload_steps import (
    failures_of,
    find_or_create,
    names_option,
    train_head,
    upload,
)
from trunkline.clients.client import Client
from trunkline.datasets import Columns
from trunkline.errors import NotFound
from trunkline.values.heads import HeadSpec
from trunkline.values.inputs import Text
from trunkline.values.outcomes import Upload


@click.command()
@head_argument
@click.argument("path", metavar="[PATH]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--backbone", metavar="NAME", help="Backbone of a new head (default: by the data's modality)."
)
@spec_options
@policy_option
@click.option(
    "--keep-inputs",
    is_flag=True,
    help="Let a new head store raw inputs beside their embeddings; --fine-tune does so, too.",
)
@click.option(
    "--activate/--no-activate",
    default=None,
    help="Let the new version answer, or leave the one that does (default: it answers, unless it "
    "has no estimate and would replace one that has).",
)
@click.option(
    "--test",
    "test_path",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Examples to measure on, which are stored as held-out and not trained on.",
)
@click.option(
    "--prune",
    is_flag=True,
    help="Delete the uploaded examples that are not in PATH any more before training.",
)
@click.option("--yes", is_flag=True, help="Do not ask whether --prune is meant.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Let the labels in PATH replace corrections by feedback, too.",
)
@names_option
@column_options(labelled=True)
@client_command
def train(
    client: Client,
    out: Output,
    head: str,
    path: Path | None,
    backbone: str | None,
    spec: SpecOptions,
    policy: str | None,
    keep_inputs: bool,
    activate: bool | None,
    test_path: Path | None,
    prune: bool,
    yes: bool,
    overwrite: bool,
    no_names: bool,
    columns: Columns,
) -> None:
    """Train a head on the labelled examples in PATH, and make it first if there is none.

    PATH is a folder with one sub-folder of images per class, or a CSV, TSV or JSONL file with
    `text` (or `path`) and `label` columns. Examples that the server knows are not sent again. What
    is left out or changed is said. Exits 1 if any row failed; the others are trained on. Without
    PATH the head is trained on the examples that it has stored.
    """
    if prune and not yes and not sys.stdin.isatty():
        raise click.UsageError("--prune deletes stored examples. Without a terminal, give --yes.")
    if path is None:
        if test_path or prune or overwrite or no_names:
            raise click.UsageError("--test, --prune, --overwrite and --no-names need a PATH.")
        client.get_head(head)  # there has to be one
        data = test_data = None
    else:
        data, test_data = _read(out, path, test_path, columns, names=not no_names)
    if data and len(data.labels) < 2 and not _has_examples(client, head):
        check_classes(data)
    if spec.fine_tune == WHOLE:
        out.say(
            "with a tail over the whole backbone a head shares no computation with others, and "
            "takes the memory of a network of its own"
        )
    found = find_or_create(
        client,
        out,
        head,
        (item for item, _ in (data.pairs if data else ())),
        backbone=backbone,
        spec=spec.on(HeadSpec()),
        keep_inputs=keep_inputs or spec.tunes,
        policy=policy,
    )
    uploaded = None
    if data:
        uploaded = upload(client, out, head, data.examples, overwrite=overwrite)
        out.notices(compare_with_stored(client, head, data, uploaded, prune=prune, yes=yes))
    if data and test_data:
        hold_out(client, out, head, test_data, data, overwrite=overwrite)
    training = train_head(client, out, head, spec.on(found.spec), activate=activate)
    report = client.report(head, training.version)
    for warning in report.warnings:
        out.say(warning)
    test = measure(client, out, head, test_data, data, report) if data and test_data else None
    if out.as_json:
        document = {"head": found.name, "version": report.version, "report": report}
        sent = _sent(uploaded, data) if uploaded and data else None
        out.document(document | {"upload": sent, "test": test, "notices": out.noticed})
    else:
        out.facts(report_facts(report) | _measured(test))
    if (uploaded and uploaded.failed) or (test and test.failed):
        raise click.exceptions.Exit(1)
    texts = data and any(isinstance(item, Text) for item, _ in data.pairs)
    asked = ("--text", "TEXT") if texts else ("PATH",)
    next_after_version(out, head, training.version, *asked, active=training.activated)


def _sent(uploaded: Upload, data: Data) -> dict[str, object]:
    """Describes an upload as JSON has it, each failed row with what a person calls its input."""
    failures = named_failures(failures_of(uploaded, data.examples))
    described: dict[str, object] = plain(uploaded)
    return described | {"failures": failures}


def _read(
    out: Output, path: Path, test_path: Path | None, columns: Columns, *, names: bool
) -> tuple[Data, Data | None]:
    """Reads what to train and to test on, and says what is to be told of it."""
    check_columns(columns, path, test_path)
    data = read_data(path, columns, names=names)
    if test_path is None:
        check_modality(data)
        out.notices(data.notices)
        return data, None
    test_data = read_data(test_path, columns, test=True, names=names)
    check_modality(data, test_data)
    out.notices([*data.notices, *test_data.notices, *unknown_labels(data, test_data)])
    return data, test_data


def _has_examples(client: Client, head: str) -> bool:
    """Returns whether there is such a head, and a class for the data's one to stand beside."""
    try:
        return client.get_head(head).labelled_count > 0
    except NotFound:
        return False


def _measured(test: Test | None) -> dict[str, object]:
    """Describes the accuracy on the test set, where there is one."""
    if test is None or test.accuracy is None:
        return {}
    left = f", {test.left_out} of {test.rows} left out" if test.left_out else ""
    return {"accuracy on the test set": f"{test.accuracy:.1%}{left}"}
