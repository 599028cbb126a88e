"""Steps of commands that store examples and train: find the head, upload, train."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import click
from rich.progress import MofNCompleteColumn, TextColumn

from trunkline.cli.interrupts import if_interrupted
from trunkline.cli.naming import digest_of, found_at
from trunkline.cli.output import Output
from trunkline.cli.time_left import TimeLeft, TimeLeftColumn, to_come
from trunkline.cli.trainings import phase_words
from trunkline.cli.versions import removed_notices
from trunkline.clients.client import Client
from trunkline.datasets import FileInput
from trunkline.errors import DatasetError, FailedPrecondition, NotFound
from trunkline.rows.chunking import MAX_ASKED
from trunkline.values.advice import Advice
from trunkline.values.examples import NewExample
from trunkline.values.heads import Head, HeadSpec
from trunkline.values.inputs import Image, as_input
from trunkline.values.notices import Notice
from trunkline.values.outcomes import RowFailure, Training, Upload, UploadChange, UploadProgress
from trunkline.values.unreadable import Unreadable
from trunkline.values.upload_notices import upload_notices
from trunkline.wording import counted, size

_LOOKED_UP = 500
"""Rows of a large upload that are looked up before it begins, to tell how long it will take."""
_SAID_BEFORE = (UploadChange.ROW_REPEATED, UploadChange.ROW_CONTRADICTED)
"""When the examples were read."""

names_option = click.option(
    "--no-names",
    is_flag=True,
    help="Do not store what the files call the inputs (their paths, or file and line).",
)
"""Of commands that upload files."""


def find_or_create(
    client: Client,
    out: Output,
    head: str,
    inputs: Iterable[FileInput],
    *,
    backbone: str | None,
    spec: HeadSpec | None = None,
    keep_inputs: bool = False,
    policy: str | None = None,
) -> Head:
    """Returns the head; makes it on the inputs' backbone if there is none.

    Of one that there is, what is no part of a training is changed as asked for.

    Raises `FailedPrecondition` if the head has another backbone.
    """
    try:
        found = client.get_head(head)
    except NotFound:
        chosen = backbone or _default_backbone(client, inputs)
        out.say(f"creating {head} on {chosen}")
        return client.create_head(head, chosen, spec, keep_inputs=keep_inputs, policy=policy)
    if backbone and backbone != found.backbone:
        raise FailedPrecondition(
            f"{head} is bound to another backbone",
            field="backbone",
            limit=found.backbone,
            value=backbone,
        )
    policy = policy if policy != found.policy else None
    average = spec.average_views if spec else None
    averages = average is not None and average != (found.spec.average_views or 0)
    if policy is None and not averages:
        return found
    changed = replace(found.spec, average_views=average) if averages else None
    return client.update_head(head, changed, policy=policy)


def upload(
    client: Client,
    out: Output,
    head: str,
    examples: Sequence[NewExample],
    *,
    overwrite: bool = False,
    noun: str = "example",
) -> Upload:
    """Uploads examples under a progress bar, and names those that failed or changed something.

    `noun` is what one of them is called when they are counted.
    """
    latest = UploadProgress(0, 0, 0)

    def words() -> str:
        done = f"{latest.rows:,} of {counted(len(examples), 'example')}"
        return f"the server has acknowledged {done}; the same command goes on from there"

    columns = (MofNCompleteColumn(), TextColumn("{task.fields[sent]} sent"), TimeLeftColumn())
    with if_interrupted(words), out.progress(*columns) as bar:
        left = TimeLeft(bar.get_time())
        task = bar.add_task("uploading", total=len(examples), sent=size(0), left=left)
        missing = _missing(client, head, examples)

        def on_progress(now: UploadProgress) -> None:
            nonlocal latest
            latest = now
            left.step(
                bar.get_time(),
                now.rows - now.known,
                now.known,
                *to_come(now, len(examples), missing),
            )
            bar.update(task, completed=now.rows, sent=size(now.sent_bytes))

        uploaded = client.upload(head, examples, on_progress, overwrite=overwrite)
        bar.update(task, completed=uploaded.rows)
    out.say(
        f"{counted(uploaded.rows, noun)}: {uploaded.known:,} known already, "
        f"{size(uploaded.sent_bytes)} sent, {uploaded.failed:,} failed"
    )
    out.failures(failures_of(uploaded, examples))
    notices = upload_notices(uploaded, lambda row: found_at(as_input(examples[row].input)))
    out.notices(notice for notice in notices if notice.reason not in _SAID_BEFORE)
    return uploaded


def _missing(client: Client, head: str, examples: Sequence[NewExample]) -> float | None:
    """Guesses from some rows which share of many the server does not know; None if they are few.

    What comes first says little of the rest: new examples may lie in the last folder of many.
    """
    if len(examples) <= MAX_ASKED:
        return None
    some = (
        as_input(examples[row].input)
        for row in range(0, len(examples), len(examples) // _LOOKED_UP)
    )
    digests = [digest for item in some if (digest := digest_of(item))]
    return len(client.find_missing(head, digests)) / len(digests) if digests else None


def failures_of(
    uploaded: Upload | Advice, examples: Sequence[NewExample]
) -> list[tuple[str, RowFailure]]:
    """Returns the rows that failed of these examples, each with where a person finds its input."""
    return [(found_at(as_input(examples[row.row].input)), row) for row in uploaded.failures]


def train_head(
    client: Client,
    out: Output,
    head: str,
    spec: HeadSpec | None = None,
    *,
    activate: bool | None = None,
    backbone: str | None = None,
    title: str = "training",
) -> Training:
    """Trains under a progress bar. Ctrl-C ends the watching, not the training."""
    name: str | None = None

    def words() -> str:
        goes = "goes on" if name else "goes on, if it has begun"
        return (
            f"the training {goes}; to watch it again, to look at it, or to end it:\n"
            f"  trunkline train {head}\n"
            f"  trunkline trainings show {name or head}\n"
            f"  trunkline trainings cancel {name or head}"
        )

    progress = out.progress(TextColumn("{task.fields[phase]}", markup=False))
    with if_interrupted(words), progress as bar:
        task = bar.add_task(title, total=1.0, phase="")

        def on_progress(now: Training) -> None:
            nonlocal name
            name = now.name
            bar.update(task, completed=now.progress, phase=phase_words(now))

        training = client.train(
            head, spec, activate=activate, backbone=backbone, on_progress=on_progress
        )
        bar.update(task, completed=1.0)
    if not training.activated:
        inactive = f"version {training.version} does not answer: {training.inactive_reason}"
        out.notices([Notice("version_inactive", inactive, 1)])
    out.notices(removed_notices(training.removed_versions))
    return training


def _default_backbone(client: Client, inputs: Iterable[FileInput]) -> str:
    kinds = {type(item) for item in inputs} - {Unreadable}
    if len(kinds) > 1:
        raise DatasetError("the examples are images and texts: a head takes one of them")
    modality = "image" if kinds == {Image} else "text"
    for backbone in client.backbones():
        if backbone.modality == modality:
            return backbone.name
    raise FailedPrecondition(
        f"the server has no backbone for this modality: {modality}", field="backbone"
    )
