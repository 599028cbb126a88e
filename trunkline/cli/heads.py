"""`trunkline heads …`: what a tenant owns."""

import click

from trunkline.cli.connection import client_command, head_argument, tenant_argument
from trunkline.cli.export_import import export_head, import_head
from trunkline.cli.head_facts import print_head, tail_words
from trunkline.cli.live import drop, feedback_of_head, promote
from trunkline.cli.output import Output, confirm
from trunkline.cli.retrain import retrain
from trunkline.cli.training_options import SpecOptions, policy_option, spec_options
from trunkline.clients.client import Client
from trunkline.values.heads import HeadSpec


@click.group()
def heads() -> None:
    """List, make, show, change, retrain, import, export and delete heads, choose their versions."""


@heads.command("list")
@tenant_argument
@client_command
def list_heads(client: Client, out: Output, tenant: str) -> None:
    """List the heads of a tenant."""
    out.listing(
        "heads",
        client.list_heads(tenant),
        {
            "head": lambda row: row.name.rpartition("/")[2],
            "backbone": lambda row: row.backbone,
            "active version": lambda row: row.active_version,
            "classes": lambda row: len(row.labels),
            "examples": lambda row: row.example_count,
            "feedback": lambda row: row.feedback_count,
        },
    )


@heads.command()
@head_argument
@client_command
def show(client: Client, out: Output, head: str) -> None:
    """Show a head."""
    print_head(client, out, client.get_head(head))


@heads.command()
@head_argument
@click.option("--backbone", metavar="NAME", required=True, help="The backbone, for good.")
@spec_options
@policy_option
@click.option(
    "--new-labels", is_flag=True, help="Let feedback bring labels that the head does not have."
)
@click.option("--keep-inputs", is_flag=True, help="Store raw inputs beside their embeddings.")
@client_command
def create(
    client: Client,
    out: Output,
    head: str,
    backbone: str,
    spec: SpecOptions,
    policy: str | None,
    new_labels: bool,
    keep_inputs: bool,
) -> None:
    """Make an empty head on a backbone."""
    made = client.create_head(
        head,
        backbone,
        spec.on(HeadSpec()),
        keep_inputs=keep_inputs or spec.tunes,
        policy=policy,
        allow_new_labels=new_labels,
    )
    print_head(client, out, made)


@heads.command()
@head_argument
@spec_options
@policy_option
@click.option(
    "--new-labels/--no-new-labels",
    default=None,
    help="Whether feedback may bring labels that the head does not have.",
)
@client_command
def update(
    client: Client,
    out: Output,
    head: str,
    spec: SpecOptions,
    policy: str | None,
    new_labels: bool | None,
) -> None:
    """Change what feedback does to a head, or how it is trained from now on."""
    changed = spec.on(client.get_head(head).spec)
    if changed is None and policy is None and new_labels is None:
        raise click.UsageError("Give at least one option that changes something.")
    print_head(
        client, out, client.update_head(head, changed, policy=policy, allow_new_labels=new_labels)
    )


@heads.command()
@head_argument
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@client_command
def delete(client: Client, out: Output, head: str, yes: bool) -> None:
    """Delete a head with its examples, versions and feedback."""
    confirm(f"Delete {head} with all that belongs to it?", yes=yes)
    client.delete_head(head)
    out.result({"deleted": head}, f"deleted {head}")


@heads.command()
@head_argument
@client_command
def versions(client: Client, out: Output, head: str) -> None:
    """List the versions of a head, newest first."""
    out.listing(
        "versions",
        client.versions(head),
        {
            "version": lambda row: row.version,
            "active": lambda row: row.active,
            "source": lambda row: row.source,
            "family": lambda row: row.family,
            "examples": lambda row: row.example_count,
            "classes": lambda row: len(row.labels),
            "tail": lambda row: row.tail and tail_words(row.tail),
            "created (UTC)": lambda row: row.create_time,
        },
    )


@heads.command()
@head_argument
@click.argument("version", type=click.IntRange(min=1), metavar="VERSION")
@client_command
def activate(client: Client, out: Output, head: str, version: int) -> None:
    """Make a version the one that answers; an earlier one rolls back."""
    before = client.get_head(head).labels
    activated = client.activate(head, version)
    if before and (words := _label_changes(before, activated.labels)):
        out.say(words)
    print_head(client, out, activated)


def _label_changes(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """Says which classes answers lose and gain; empty if none."""
    lost = ", ".join(label for label in before if label not in after)
    gained = ", ".join(label for label in after if label not in before)
    changes = [*([f"lose {lost}"] if lost else []), *([f"gain {gained}"] if gained else [])]
    return f"answers {' and '.join(changes)}" if changes else ""


for command in (retrain, export_head, import_head, promote, drop, feedback_of_head):
    heads.add_command(command)
