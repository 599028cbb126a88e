"""`trunkline report`."""

from collections.abc import Mapping
from pathlib import Path

import click

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.connection import client_command, head_argument, version_option
from trunkline.cli.head_facts import live_facts
from trunkline.cli.html_option import html_option
from trunkline.cli.naming import names_of
from trunkline.cli.next_step import example_word, next_step
from trunkline.cli.output import Output, one_line, plain
from trunkline.cli.report_tables import print_tables, tail_outcome
from trunkline.cli.thumbnails import with_kept_inputs
from trunkline.clients.client import Client
from trunkline.datasets import Columns, read_inputs
from trunkline.html_report import report_page
from trunkline.html_report.provenance import group_words, provenance, spec_words
from trunkline.values.heads import LiveCopy
from trunkline.values.reports import Report
from trunkline.wording import accuracy, live_accuracy


@click.command()
@head_argument
@click.argument("number", metavar="[VERSION]", required=False, type=click.IntRange(min=1))
@version_option
@html_option("Write the report to this file as one self-contained page, too.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Call examples by their names in this folder or table, not by those stored with them.",
)
@column_options(labelled=False)
@client_command
def report(
    client: Client,
    out: Output,
    head: str,
    number: int | None,
    version: int | None,
    html: Path | None,
    data: Path | None,
    columns: Columns,
) -> None:
    """Show what is known about a version, the active one by default.

    That is: its accuracy, class by class, how far its probabilities can be trusted, which examples
    are perhaps mislabelled, how it does on the test set and on feedback.
    """
    if number and version and number != version:
        raise click.UsageError("Give VERSION once.")
    check_columns(columns, data)
    result = client.report(head, number or version)
    names = external_names(result) | (names_of(read_inputs(data, columns)) if data else {})
    live = live_copy_of(client, head, result)
    if html is not None:
        write_page(html, result, live, with_kept_inputs(client, out, result, names))
        out.say(f"wrote {html}")
    if out.as_json:
        out.document(plain(result) | {"live": live})
        return
    out.facts(report_facts(result, live) | {"spec": spec_words(result.spec)})
    print_tables(out, result, names)
    if live:
        out.facts(live_facts(live), title="live copy")
    suspects = result.likely_mislabelled
    if suspects:
        word = example_word(suspects[0].digest, suspects[0].external_id)
        next_step(out, "examples", "show", head, word)
    else:
        next_step(out, "predict", head, "PATH")


def write_page(path: Path, report: Report, live: LiveCopy | None, names: Mapping[str, str]) -> None:
    """Writes the report as one self-contained page. Raises `OSError` if the file cannot be."""
    path.write_text(report_page(report, provenance(report), live, names), encoding="utf-8")


def external_names(report: Report) -> dict[str, str]:
    """Returns what suspects and near-copies are called by whoever sent them, by their digests."""
    pairs = report.near_duplicates
    named = [(row.digest, row.external_id) for row in report.likely_mislabelled]
    named += [(row.digest, row.external_id) for row in pairs]
    named += [(row.other_digest, row.other_external_id) for row in pairs]
    return {digest: one_line(name) for digest, name in named if name}


def report_facts(report: Report, live: LiveCopy | None = None) -> dict[str, object]:
    """Returns the report's figures by name; those of the live copy, too, where it answers."""
    answering = live_accuracy(live)
    estimate, evaluation, tuned = report.estimate, report.evaluation, report.fine_tuning
    facts: dict[str, object] = {
        "head": report.head,
        "version": report.version,
        "family": report.family,
        "backbone": report.backbone,
        "examples": report.example_count,
        **({"texts cut at the window": report.truncated_count} if report.truncated_count else {}),
        "classes": len(report.classes),
        "l2": report.l2,
        "temperature": report.temperature,
        **({"live copy, which answers": " ".join(answering)} if answering else {}),
        "estimated accuracy": estimate and f"{accuracy(estimate)}, {estimate.method}",
        "most frequent class": _majority(report),
        "estimated log-loss": estimate and estimate.log_loss,
        "calibration error": evaluation and evaluation.expected_calibration_error,
        "groups": group_words(report),
        "training time": f"{report.train_seconds:.2f} s",
    }
    if tuned:
        facts["fine-tuning"] = f"{tuned.strategy}, tail {tail_outcome(tuned)}"
    return facts


def _majority(report: Report) -> str | None:
    """Describes what always answering the most frequent class would get right."""
    total = sum(row.examples for row in report.classes)
    if not total:
        return None
    most = max(report.classes, key=lambda row: row.examples)
    return f"{most.examples / total:.1%}, always answering {most.label}"


def live_copy_of(client: Client, head: str, report: Report) -> LiveCopy | None:
    """Returns the head's live copy, if it moves on from this version."""
    live = client.get_head(head).live
    return live if live and live.base_version == report.version else None
