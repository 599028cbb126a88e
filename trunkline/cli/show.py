"""`trunkline backbones` and `trunkline report`."""

from pathlib import Path

import click

from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.output import Output
from trunkline.cli.page import report_page
from trunkline.client import Client
from trunkline.values import Estimate, Report


@click.command()
@client_command
def backbones(client: Client, out: Output) -> None:
    """List the backbones that the server has loaded."""
    rows = client.backbones()
    if out.as_json:
        out.document({"backbones": rows})
        return
    columns = ["name", "modality", "dim", "engine", "device", "ready", "fingerprint"]
    out.table(columns, [[getattr(row, column) for column in columns] for row in rows])


@click.command()
@head_argument
@click.option(
    "--version", type=click.IntRange(min=1), help="The version (default: the active one)."
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the report to this file as one self-contained page, too.",
)
@client_command
def report(client: Client, out: Output, head: str, version: int | None, html: Path | None) -> None:
    """Show what is known about a version: its classes, its estimate, the families considered."""
    result = client.report(head, version)
    if html is not None:
        html.write_text(report_page(result, report_facts(result)), encoding="utf-8")
    if out.as_json:
        out.document(result)
        return
    out.facts(report_facts(result))
    out.table(["class", "examples"], [(row.label, row.examples) for row in result.classes])
    if result.candidates:
        columns = ["family", "l2", "accuracy", "log-loss", "chosen"]
        rows = [
            (row.family, row.l2, accuracy(row.estimate), row.estimate.log_loss, row.chosen)
            if row.estimate
            else (row.family, None, "left out", None, row.chosen)
            for row in result.candidates
        ]
        out.table(columns, rows)


def report_facts(report: Report) -> dict[str, object]:
    """The report's figures by name."""
    estimate = report.estimate
    return {
        "head": report.head,
        "version": report.version,
        "family": report.family,
        "backbone": report.backbone,
        "examples": report.example_count,
        "classes": len(report.classes),
        "l2": report.l2,
        "temperature": report.temperature,
        "estimated accuracy": estimate and f"{accuracy(estimate)}, {estimate.method}",
        "estimated log-loss": estimate and estimate.log_loss,
        "training time": f"{report.train_seconds:.2f} s",
    }


def accuracy(estimate: Estimate) -> str:
    """The accuracy with its 95 % interval."""
    low, high = estimate.accuracy_low, estimate.accuracy_high
    return f"{estimate.accuracy:.1%} ({low:.1%} to {high:.1%})"
