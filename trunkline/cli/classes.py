"""`trunkline classes …`: the labels of a head, in all that is stored of it."""

import sys
from typing import Any

import click

from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Output, confirm, echo, plain
from trunkline.cli.upload_steps import train_head
from trunkline.cli.versions import removed_notices
from trunkline.clients.client import Client
from trunkline.values.labels import ChangedLabels
from trunkline.values.outcomes import Training
from trunkline.wording import accuracy, counted


@click.group()
def classes() -> None:
    """List, describe, rename, merge and delete the classes of a head."""


@classes.command("list")
@head_argument
@client_command
def list_classes(client: Client, out: Output, head: str) -> None:
    """List the classes of a head, and what is stored of each."""
    rows = list(client.labels(head))
    out.listing(
        "labels",
        rows,
        {
            "class": lambda row: row.label,
            "examples": lambda row: row.example_count,
            "held out": lambda row: row.held_out_count,
            "feedback": lambda row: row.feedback_count,
            "answers": lambda row: row.active,
        },
    )
    if rows:
        next_step(out, "examples", "list", head, "--label", rows[0].label)
    else:
        next_step(out, "train", head, "PATH")


@classes.command()
@head_argument
@click.argument("label", metavar="CLASS")
@click.argument("new_label", metavar="NEW")
@client_command
def rename(client: Client, out: Output, head: str, label: str, new_label: str) -> None:
    """Rename a class; answers have the new name at once, earlier versions keep the old one."""
    changed = client.rename_label(head, label, new_label)
    out.notices(removed_notices(changed.removed_versions))
    if out.as_json:
        out.document(changed)
        return
    echo(f"{label} is {new_label}: {_changes(changed)}")
    if changed.version is not None:
        echo(f"version {changed.version.version} answers with the new name")
        next_step(out, "predict", head, "PATH")


@classes.command()
@head_argument
@click.argument("labels", metavar="CLASS...", nargs=-1, required=True)
@click.option("--into", metavar="CLASS", required=True, help="What they are from now on.")
@client_command
def merge(client: Client, out: Output, head: str, labels: tuple[str, ...], into: str) -> None:
    """Make classes one, and train the head again; until that is done the old version answers."""
    changed = client.merge_labels(head, labels, into)
    training = _trained(client, out, head, changed)
    if not out.as_json:
        are = "are" if len(labels) > 1 else "is"
        echo(f"{', '.join(labels)} {are} {into}: {_changes(changed)}")
    _print_version(client, out, head, changed, training)


@classes.command("describe")
@head_argument
@click.argument("described", metavar="CLASS[=TEXT]...", nargs=-1)
@click.option("--none", is_flag=True, help="Take all descriptions away.")
@client_command
def describe_classes(
    client: Client, out: Output, head: str, described: tuple[str, ...], none: bool
) -> None:
    """Say what the classes of a head for texts mean, and train it on that.

    It answers before anybody has labelled an example. A class without a text is described by its
    name. The descriptions take the place of those before; each counts until its class has two
    examples.
    """
    if bool(described) == none:
        raise click.UsageError("Give classes with what they mean, or --none.")
    pairs = [word.partition("=") for word in described]
    meanings = {label.strip(): text.strip() for label, _, text in pairs}
    if len(meanings) < len(pairs):
        raise click.UsageError("Name each class once.")
    found = client.describe_labels(head, meanings)
    for label in found.truncated:
        out.say(f"{label}: what it means is longer than the backbone reads; its end has no part")
    training = None
    if found.training is not None:
        training = train_head(client, out, head, None, activate=None, title="training")
    if out.as_json:
        out.document(plain(found) | {"training": plain(training)})
    elif training is None:
        echo("no class is described any more")
    else:
        said = counted(len(found.head.label_descriptions), "class is", "classes are")
        echo(f"version {training.version}: {said} described")
        next_step(out, "predict", head, "--text", "TEXT")


@classes.command()
@head_argument
@click.argument("label", metavar="CLASS")
@click.option(
    "--delete-examples/--keep-examples",
    default=None,
    help="Whether its examples are deleted, or stay without a label.",
)
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@client_command
def delete(
    client: Client, out: Output, head: str, label: str, delete_examples: bool | None, yes: bool
) -> None:
    """Delete a class, and train the head again; until that is done the old version answers."""
    if delete_examples is None:
        if not sys.stdin.isatty():
            raise click.UsageError("Without a terminal, give --delete-examples or --keep-examples.")
        question = f"What becomes of the examples of {label}?"
        fate = click.prompt(question, type=click.Choice(["delete", "keep"]), err=True)
        delete_examples = fate == "delete"
    what = f"{label} and its examples" if delete_examples else label
    confirm(f"Delete {what} from {head}?", yes=yes)
    changed = client.delete_label(head, label, delete_examples=delete_examples)
    training = _trained(client, out, head, changed)
    if not out.as_json:
        echo(f"deleted {label}: {_changes(changed)}")
    _print_version(client, out, head, changed, training)


def _trained(client: Client, out: Output, head: str, changed: ChangedLabels) -> Training | None:
    """Waits for the training that a change has started."""
    if changed.training is None:
        return None
    return train_head(client, out, head, None, activate=True, title="training")


def _changes(changed: ChangedLabels) -> str:
    if changed.examples_deleted:
        words = f"{counted(changed.examples_deleted, 'example')} deleted"
    else:
        words = f"{counted(changed.examples, 'example')} changed"
    return f"{words}, {changed.feedback:,} feedback"


def _print_version(
    client: Client, out: Output, head: str, changed: ChangedLabels, training: Training | None
) -> None:
    """Prints which version answers now, and how good it is believed to be."""
    if training is None:
        if out.as_json:
            out.document(changed)
        next_step(out, "train", head, "PATH")
        return
    estimate = client.report(head, training.version).estimate
    if out.as_json:
        document: dict[str, Any] = vars(changed) | {"training": training}
        out.document(document)
        return
    believed = "none" if estimate is None else accuracy(estimate)
    echo(f"version {training.version} answers; estimated accuracy {believed}")
    next_step(out, "report", head)
