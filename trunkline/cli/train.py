"""`trunkline train`: from a folder or table to a trained, active version."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.progress import MofNCompleteColumn

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.naming import digest_of, input_name
from trunkline.cli.output import Output
from trunkline.cli.predict import predicted
from trunkline.cli.reading import check_classes, check_modality, read_data, unknown_labels
from trunkline.cli.report import report_facts
from trunkline.cli.stored import compare_with_stored
from trunkline.cli.training_options import WHOLE, SpecOptions, policy_option, spec_options
from trunkline.cli.upload_steps import find_or_create, notices_of, train_head, upload
from trunkline.clients.client import Client
from trunkline.datasets import Columns, FileInput
from trunkline.errors import NotFound
from trunkline.labels import normalised
from trunkline.values.examples import NewExample
from trunkline.values.heads import HeadSpec
from trunkline.values.notices import Notice
from trunkline.values.outcomes import RowFailure

Examples = Sequence[tuple[FileInput, str]]


@dataclass(frozen=True)
class Test:
    """How the new version did on examples it was not trained on."""

    rows: int
    failed: int
    accuracy: float | None


@click.command()
@head_argument
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
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
@click.option(
    "--overwrite",
    is_flag=True,
    help="Let the labels in PATH replace corrections by feedback, too.",
)
@column_options(labelled=True)
@client_command
def train(
    client: Client,
    out: Output,
    head: str,
    path: Path,
    backbone: str | None,
    spec: SpecOptions,
    policy: str | None,
    keep_inputs: bool,
    activate: bool | None,
    test_path: Path | None,
    prune: bool,
    overwrite: bool,
    columns: Columns,
) -> None:
    """Train a head on the labelled examples in PATH, and make it first if there is none.

    PATH is a folder with one sub-folder of images per class, or a CSV, TSV or JSONL file with
    `text` (or `path`) and `label` columns. Examples that the server knows are not sent again. What
    is left out or changed is said. Exits 1 if any row failed; the others are trained on.
    """
    check_columns(columns, path, *([test_path] if test_path else []))
    data = read_data(path, columns)
    test_data = read_data(test_path, columns, test=True) if test_path else None
    check_modality(data, *([test_data] if test_data else []))
    notices = list(data.notices)
    if test_data:
        notices += [*test_data.notices, *unknown_labels(data, test_data)]
    out.notices(notices)
    if len(data.labels) < 2 and not _has_examples(client, head):
        check_classes(data)
    examples = data.pairs
    tested = test_data.pairs if test_data else None
    if spec.fine_tune == WHOLE:
        out.say(
            "with a tail over the whole backbone a head shares no computation with others, and "
            "takes the memory of a network of its own"
        )
    found = find_or_create(
        client,
        out,
        head,
        (item for item, _ in examples),
        backbone=backbone,
        spec=spec.on(HeadSpec()),
        keep_inputs=keep_inputs or spec.tunes,
        policy=policy,
    )
    uploaded = upload(client, out, head, data.examples, overwrite=overwrite)
    others = compare_with_stored(client, head, data, uploaded, prune=prune)
    out.notices(others)
    notices += [*notices_of(uploaded, data.examples), *others]
    if tested:
        notices += _hold_out(client, out, head, tested, examples, overwrite=overwrite)
    training = train_head(client, out, head, spec.on(found.spec), activate=activate)
    report = client.report(head, training.version)
    for warning in report.warnings:
        out.say(warning)
    test = _test(client, out, head, tested, training.version) if tested else None
    if out.as_json:
        document = {"head": found.name, "version": report.version, "report": report}
        out.document(document | {"upload": uploaded, "test": test, "notices": notices})
    else:
        measured = (
            {"accuracy on the test set": f"{test.accuracy:.1%}"}
            if test and test.accuracy is not None
            else {}
        )
        out.facts(report_facts(report) | measured)
    if uploaded.failed or (test and test.failed):
        raise click.exceptions.Exit(1)


def _has_examples(client: Client, head: str) -> bool:
    """Returns whether there is such a head, and a class for the data's one to stand beside."""
    try:
        return client.get_head(head).labelled_count > 0
    except NotFound:
        return False


def _hold_out(
    client: Client,
    out: Output,
    head: str,
    tested: Examples,
    trained: Examples,
    *,
    overwrite: bool,
) -> list[Notice]:
    """Stores the test set, so that reports measure on it, too; what is trained on cannot be.

    Returns what is to be said of the changes that this made.
    """
    known = {digest_of(item) for item, _ in trained} - {None}
    held_out = [
        NewExample(item, label, held_out=True)
        for item, label in tested
        if digest_of(item) not in known
    ]
    if both := len(tested) - len(held_out):
        out.say(f"{both} examples of the test set are trained on: reports do not measure on them")
    if not held_out:
        return []
    return notices_of(upload(client, out, head, held_out, overwrite=overwrite), held_out)


def _test(client: Client, out: Output, head: str, examples: Examples, version: int | None) -> Test:
    inputs = [item for item, _ in examples]
    failures: list[tuple[str, RowFailure]] = []
    right = 0
    with out.progress(MofNCompleteColumn()) as bar:
        outcomes = predicted(client, head, inputs, version=version, top_k=1)
        tracked = bar.track(outcomes, total=len(examples), description="testing")
        for (item, outcome), (_, label) in zip(tracked, examples, strict=True):
            if isinstance(outcome, RowFailure):
                failures.append((input_name(item), outcome))
            else:
                right += outcome.label == normalised(label)
    out.failures(failures)
    tested = len(examples) - len(failures)
    return Test(len(examples), len(failures), right / tested if tested else None)
