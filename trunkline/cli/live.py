"""`trunkline heads promote`, `drop` and `feedback …`: what feedback has come to."""

import click

from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Output, short_digest
from trunkline.cli.versions import removed_notices
from trunkline.clients.client import Client
from trunkline.values.examples import FeedbackState


@click.command()
@head_argument
@client_command
def promote(client: Client, out: Output, head: str) -> None:
    """Make a version of the live copy and activate it, whatever the policy."""
    result = client.promote_live_copy(head)
    version = result.version.version
    out.result(result, f"the live copy of {head} is now version {version}, and active")
    out.notices(removed_notices(result.removed_versions))
    next_step(out, "report", head)


@click.command()
@head_argument
@client_command
def drop(client: Client, out: Output, head: str) -> None:
    """Drop the live copy; the feedback behind it goes into quarantine."""
    result = client.drop_live_copy(head)
    left = f"feedback in quarantine: {result.quarantined}"
    out.result(result, f"dropped the live copy of {head}; {left}")
    next_step(out, "heads", "feedback", "list", head, "--state", "quarantined")


@click.group("feedback")
def feedback_of_head() -> None:
    """List feedback, and release it from quarantine."""


@feedback_of_head.command("list")
@head_argument
@click.option(
    "--state",
    type=click.Choice([str(state) for state in FeedbackState]),
    help="Only feedback in this state.",
)
@client_command
def list_feedback(client: Client, out: Output, head: str, state: str | None) -> None:
    """List the feedback of a head, oldest first, and what became of it."""
    rows = list(client.list_feedback(head, FeedbackState(state) if state else None))
    out.listing(
        "feedback",
        rows,
        {
            "id": lambda row: row.id,
            "digest": lambda row: short_digest(row.digest) if row.digest else None,
            "label": lambda row: row.label or None,
            "state": lambda row: row.state,
            "version": lambda row: row.active_version,
            "it was right": lambda row: row.active_right,
            "live copy was": lambda row: row.live_right,
            "time (UTC)": lambda row: row.create_time,
        },
    )
    if rows:
        next_step(out, "heads", "show", head)
    else:
        next_step(out, "feedback", head, "PATH", "LABEL")


@feedback_of_head.command()
@head_argument
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="All feedback in quarantine.")
@client_command
def release(client: Client, out: Output, head: str, ids: tuple[str, ...], everything: bool) -> None:
    """Let feedback in quarantine count again, from the next training on.

    Exits 1 if one was not in quarantine.
    """
    if bool(ids) == everything:
        raise click.UsageError("Give ID..., or --all.")
    result = client.release_feedback(head, None if everything else ids)
    released = {"released": result.changed, "failures": result.failures}
    out.result(released, f"released {result.changed}; the next training uses them")
    out.failures([(ids[row.row] if ids else head, row) for row in result.failures])
    if result.failures:
        raise click.exceptions.Exit(1)
    next_step(out, "train", head)
