"""`trunkline heads promote`, `drop` and `feedback …`: what feedback has come to."""

import click

from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.output import Output, short_digest
from trunkline.clients.client import Client
from trunkline.values.examples import FeedbackState


@click.command()
@head_argument
@client_command
def promote(client: Client, out: Output, head: str) -> None:
    """Make a version of the live copy and activate it, whatever the policy."""
    result = client.promote_live_copy(head)
    if out.as_json:
        out.document(result)
    else:
        click.echo(f"the live copy of {head} is now version {result.version.version}, and active")


@click.command()
@head_argument
@client_command
def drop(client: Client, out: Output, head: str) -> None:
    """Drop the live copy; the feedback behind it goes into quarantine."""
    result = client.drop_live_copy(head)
    if out.as_json:
        out.document(result)
    else:
        click.echo(f"dropped the live copy of {head}; feedback in quarantine: {result.quarantined}")


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
    if out.as_json:
        out.document({"feedback": rows})
        return
    columns = [
        "id",
        "digest",
        "label",
        "state",
        "version",
        "it was right",
        "live copy was",
        "time (UTC)",
    ]
    out.table(
        columns,
        [
            (
                row.id,
                short_digest(row.digest) if row.digest else None,
                row.label or None,
                row.state,
                row.active_version,
                row.active_right,
                row.live_right,
                row.create_time,
            )
            for row in rows
        ],
    )


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
    if out.as_json:
        out.document({"released": result.changed, "failures": result.failures})
    else:
        click.echo(f"released {result.changed}; the next training uses them")
    out.failures([(ids[row.row] if ids else head, row) for row in result.failures])
    if result.failures:
        raise click.exceptions.Exit(1)
