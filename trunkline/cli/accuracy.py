"""`trunkline accuracy`: how often the answers were right that were served."""

import click

from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Output
from trunkline.clients.client import Client
from trunkline.values.reviews import ServedAccuracy


@click.command(short_help="Say how often the answers were right that were served.")
@head_argument
@click.option("--version", type=click.IntRange(min=1), help="Only what this version served.")
@click.option("--hours", type=click.IntRange(min=1), default=24, help="Length of a period.")
@client_command
def accuracy(client: Client, out: Output, head: str, version: int | None, hours: int) -> None:
    """Say how often the answers were right that were served.

    It is told by those that were drawn from the traffic at random and reviewed. What nobody judged
    may have been right or not, and makes the 95 % interval wider. Precision is of the answers that
    named a class, recall of the inputs that are of it.
    """
    found = client.served_accuracy(head, version=version, period=hours * 3600)
    if out.as_json:
        out.document({"head": head, **vars(found)})
        return
    whole = found.accuracy
    out.facts(
        {
            "accuracy": _words(whole),
            "judged": whole.right + whole.wrong,
            "right": whole.right,
            "not judged": f"{whole.unknown} (waiting {found.waiting}, skipped {found.skipped}, "
            f"expired {found.expired})",
            "junk, left out": found.junk,
        }
    )
    out.rows(
        found.classes,
        {
            "class": lambda row: row.label,
            "precision": lambda row: _words(row.precision),
            "recall": lambda row: _words(row.recall),
        },
        "By class",
    )
    out.rows(
        found.periods,
        {
            "from": lambda row: row.start_time,
            "accuracy": lambda row: _words(row.accuracy),
            "judged": lambda row: row.accuracy.right + row.accuracy.wrong,
            "not judged": lambda row: row.accuracy.unknown,
        },
        "Over time",
    )
    if found.waiting:
        next_step(out, "review", head, "--random")


def _words(share: ServedAccuracy) -> str:
    """Writes an accuracy with its interval."""
    known = "unknown" if share.accuracy is None else f"{share.accuracy:.1%}"
    return f"{known} ({share.accuracy_low:.1%} to {share.accuracy_high:.1%})"
