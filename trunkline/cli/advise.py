"""`trunkline advise`: whether transfer pays for a folder or table, before anything is stored."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
from rich.progress import TextColumn

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.connection import client_command
from trunkline.cli.direct_training import direct_code
from trunkline.cli.html_option import html_option
from trunkline.cli.interrupts import if_interrupted
from trunkline.cli.naming import names_of
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Output, named_failures, plain
from trunkline.cli.reading import check_classes, check_modality, read_data
from trunkline.cli.report_tables import print_pairs
from trunkline.cli.upload_steps import failures_of
from trunkline.clients.client import Client
from trunkline.datasets import Columns
from trunkline.html_report import advice_page
from trunkline.resources import InvalidName, TenantName, check_id
from trunkline.values.advice import DIRECT, Advice, Option, Verdict
from trunkline.values.examples import NewExample
from trunkline.values.outcomes import UploadProgress
from trunkline.wording import accuracy, counted, direct_words, size

_SHOWN_PAIRS = 10
_WITHOUT_BACKBONE = ("majority", "direct")
"""Options that are no heads."""

_COLUMNS: dict[str, Callable[[Option], object]] = {
    "option": lambda row: row.name,
    "accuracy": lambda row: accuracy(row.estimate),
    "log-loss": lambda row: f"{row.estimate.log_loss:.4f}",
    "LogME": lambda row: None if row.log_evidence is None else f"{row.log_evidence:.4f}",
    "rank": lambda row: None if row.effective_rank is None else f"{row.effective_rank:.0f}",
    "cosine": lambda row: None if row.mean_similarity is None else f"{row.mean_similarity:.3f}",
    "seconds": lambda row: f"{row.seconds:.1f}",
}


@click.command()
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option(
    "--tenant",
    metavar="TENANT",
    default="default",
    show_default=True,
    help="In whose turn the server works.",
)
@click.option(
    "--backbone",
    "backbones",
    metavar="NAME",
    multiple=True,
    help="A backbone to compare; may be repeated (default: all loaded ones that take the data).",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Decides the folds.")
@html_option("Write the advice with its curves to this file as one self-contained page, too.")
@column_options(labelled=True)
@client_command
def advise(
    client: Client,
    out: Output,
    path: Path,
    tenant: str,
    backbones: tuple[str, ...],
    seed: int,
    html: Path | None,
    columns: Columns,
) -> None:
    """Say whether transfer pays for the labelled examples in PATH, and how many labels it takes.

    Always answering the most frequent class, direct training on the raw inputs, and a head on each
    backbone are compared on the same folds. Nothing is stored. PATH is as for `trunkline train`.
    Exits 1 if any row failed; the others are looked at.
    """
    try:
        TenantName.read(tenant)
    except InvalidName as error:
        raise click.BadParameter(str(error), param_hint="--tenant") from error
    check_columns(columns, path)
    data = read_data(path, columns)
    check_modality(data)
    out.notices(data.notices)
    check_classes(data)
    # Of an input that occurs again the last row counts, as in a training.
    examples = [row for at, row in enumerate(data.examples) if at not in data.overruled]
    advice = _ask(client, out, tenant, examples, backbones, seed)
    names = names_of(item for item, _ in data.pairs) if advice.near_duplicates else {}
    code = direct_code(advice, data, columns)
    if html is not None:
        html.write_text(advice_page(advice, path.name, names, code), encoding="utf-8")
        out.say(f"wrote {html}")
    if out.as_json:
        failures = named_failures(failures_of(advice, examples))
        more = {"direct_code": code, "failures": failures, "notices": plain(out.noticed)}
        out.document(plain(advice) | more)
    else:
        _print(out, advice, names)
        if code and advice.recommended == DIRECT:
            out.words(direct_words(advice))
            out.code(code)
    if advice.failed:
        raise click.exceptions.Exit(1)
    _say_next(out, advice, tenant, path, columns)


def _say_next(out: Output, advice: Advice, tenant: str, path: Path, columns: Columns) -> None:
    """Says how to train the best head, named as the data are, where one is what is advised."""
    backbones = [row.name for row in advice.options if row.name not in _WITHOUT_BACKBONE]
    advised = advice.verdict in (Verdict.TRANSFER, Verdict.EITHER)
    if not backbones or not advised or advice.recommended == DIRECT:
        return
    head = f"{TenantName.read(tenant).tenant}/{_head_id(path)}"
    named = [f"--{name}-column={value}" for name, value in vars(columns).items() if value]
    next_step(out, "train", head, str(path), "--backbone", backbones[0], *named)


def _head_id(path: Path) -> str:
    try:
        return check_id(path.stem, field="head_id")
    except InvalidName:
        return "HEAD"


def _ask(
    client: Client,
    out: Output,
    tenant: str,
    examples: Sequence[NewExample],
    backbones: Sequence[str],
    seed: int,
) -> Advice:
    progress = out.progress(TextColumn("{task.fields[said]}", markup=False))
    with if_interrupted(lambda: "nothing is stored; the same command begins anew"), progress as bar:
        # One more than there are rows: the comparison that follows.
        task = bar.add_task("sending", total=len(examples) + 1, said="")

        def on_progress(now: UploadProgress) -> None:
            bar.update(
                task,
                description="comparing" if now.rows == len(examples) else "sending",
                completed=now.rows,
                said=f"{now.rows} examples, {size(now.sent_bytes)}",
            )

        advice = client.advise(tenant, examples, backbones, seed=seed, on_progress=on_progress)
        bar.update(task, description="compared", completed=len(examples) + 1)
    out.failures(failures_of(advice, examples))
    return advice


def _print(out: Output, advice: Advice, names: Mapping[str, str]) -> None:
    out.rows(advice.options, _COLUMNS)
    out.words(advice.summary)
    for reason in advice.reasons:
        out.words(reason, bullet="- ")
    likely = "is likely to pay" if advice.fine_tuning else "is not likely to pay"
    out.words(f"Fine-tuning {likely}. {advice.fine_tuning_reason}")
    wanted = [
        (f"{row.accuracy:.1%}", "out of sight" if row.examples is None else row.examples)
        for row in advice.labels_needed
    ]
    title = f"examples that {advice.recommended} is likely to need"
    out.table(["accuracy", "examples"], wanted, title=title)
    if advice.near_duplicates:
        _print_pairs(out, advice, names)


def _print_pairs(out: Output, advice: Advice, names: Mapping[str, str]) -> None:
    pairs = advice.near_duplicates[:_SHOWN_PAIRS]
    title = f"nearly the same: {counted(advice.near_duplicate_count, 'pair')}"
    if advice.near_duplicate_count > len(pairs):
        title += f", {len(pairs)} of them"
    print_pairs(out, title, pairs, names)
