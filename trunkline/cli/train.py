"""`trunkline train`: from a folder or table to a trained, active version."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.progress import MofNCompleteColumn, TextColumn

from trunkline.cli.connection import chosen_spec, client_command, head_argument, spec_options
from trunkline.cli.output import Output, size
from trunkline.cli.predict import input_name, predicted
from trunkline.cli.show import report_facts
from trunkline.client import Client
from trunkline.datasets import read_examples
from trunkline.errors import DatasetError, FailedPrecondition, NotFound
from trunkline.inputs import Image, Text
from trunkline.values import (
    Head,
    HeadSpec,
    RowFailure,
    Training,
    Upload,
    UploadProgress,
)

Examples = Sequence[tuple[Image | Text, str]]


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
@click.option(
    "--keep-inputs", is_flag=True, help="Let a new head store raw inputs beside their embeddings."
)
@click.option(
    "--no-activate",
    "activate",
    flag_value=False,
    type=bool,
    default=True,
    help="Leave the version that answers as it is.",
)
@click.option(
    "--test",
    "test_path",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Examples to measure the accuracy on, which are not trained on.",
)
@client_command
def train(
    client: Client,
    out: Output,
    head: str,
    path: Path,
    backbone: str | None,
    family: str | None,
    seed: int | None,
    l2: float | None,
    keep_inputs: bool,
    activate: bool,
    test_path: Path | None,
) -> None:
    """Train a head on the labelled examples in PATH, and make it first if there is none.

    PATH is a folder with one sub-folder of images per class, or a CSV, TSV or JSONL file with
    `text` (or `path`) and `label` columns. Examples that the server knows are not sent again. Exits
    1 if any row failed; the others are trained on.
    """
    examples = _examples(path)
    held_out = _examples(test_path) if test_path else None
    spec = chosen_spec(family, seed, l2, HeadSpec())
    found = _find_or_create(client, out, head, examples, backbone, spec, keep_inputs)
    uploaded = _upload(client, out, head, examples)
    spec = chosen_spec(family, seed, l2, found.spec)
    training = _train(client, out, head, spec, activate)
    report = client.report(head, training.version)
    test = _test(client, out, head, held_out, training.version) if held_out else None
    if out.as_json:
        document = {"head": found.name, "version": report.version, "report": report}
        out.document(document | {"upload": uploaded, "test": test})
    else:
        measured = (
            {"accuracy on the test set": f"{test.accuracy:.1%}"}
            if test and test.accuracy is not None
            else {}
        )
        out.facts(report_facts(report) | measured)
    if uploaded.failed or (test and test.failed):
        raise click.exceptions.Exit(1)


def _examples(path: Path) -> Examples:
    examples = list(read_examples(path))
    if not examples:
        raise DatasetError(f"{path}: no examples")
    return examples


def _find_or_create(
    client: Client,
    out: Output,
    head: str,
    examples: Examples,
    backbone: str | None,
    spec: HeadSpec | None,
    keep_inputs: bool,
) -> Head:
    try:
        found = client.get_head(head)
    except NotFound:
        chosen = backbone or _default_backbone(client, examples)
        out.say(f"creating {head} on {chosen}")
        return client.create_head(head, chosen, spec, keep_inputs=keep_inputs)
    if backbone and backbone != found.backbone:
        raise FailedPrecondition(
            f"{head} is bound to another backbone",
            field="backbone",
            limit=found.backbone,
            value=backbone,
        )
    return found


def _default_backbone(client: Client, examples: Examples) -> str:
    kinds = {type(item) for item, _ in examples}
    if len(kinds) > 1:
        raise DatasetError("the examples are images and texts: a head takes one of them")
    modality = "image" if kinds == {Image} else "text"
    for backbone in client.backbones():
        if backbone.modality == modality:
            return backbone.name
    raise FailedPrecondition(
        f"the server has no backbone for this modality: {modality}", field="backbone"
    )


def _upload(client: Client, out: Output, head: str, examples: Examples) -> Upload:
    with out.progress(MofNCompleteColumn(), TextColumn("{task.fields[sent]} sent")) as bar:
        task = bar.add_task("uploading", total=len(examples), sent=size(0))

        def on_progress(now: UploadProgress) -> None:
            bar.update(task, completed=now.rows, sent=size(now.sent_bytes))

        uploaded = client.upload(head, examples, on_progress)
        bar.update(task, completed=uploaded.rows)
    out.say(
        f"{uploaded.rows} examples: {uploaded.known} known already, "
        f"{size(uploaded.sent_bytes)} sent, {uploaded.failed} failed"
    )
    out.failures([(input_name(examples[row.row][0]), row) for row in uploaded.failures])
    return uploaded


def _train(
    client: Client, out: Output, head: str, spec: HeadSpec | None, activate: bool
) -> Training:
    with out.progress(TextColumn("{task.fields[phase]}", markup=False)) as bar:
        task = bar.add_task("training", total=1.0, phase="")

        def on_progress(now: Training) -> None:
            bar.update(task, completed=now.progress, phase=now.phase)

        training = client.train(head, spec, activate=activate, on_progress=on_progress)
        bar.update(task, completed=1.0)
    return training


def _test(client: Client, out: Output, head: str, examples: Examples, version: int | None) -> Test:
    inputs = [item for item, _ in examples]
    failures: list[tuple[str, RowFailure]] = []
    right = 0
    with out.progress(MofNCompleteColumn()) as bar:
        outcomes = predicted(client, head, inputs, 1, version)
        tracked = bar.track(outcomes, total=len(examples), description="testing")
        for (item, outcome), (_, label) in zip(tracked, examples, strict=True):
            if isinstance(outcome, RowFailure):
                failures.append((input_name(item), outcome))
            else:
                right += outcome.label == label
    out.failures(failures)
    judged = len(examples) - len(failures)
    return Test(len(examples), len(failures), right / judged if judged else None)
