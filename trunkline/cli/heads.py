"""`trunkline heads …`: what tenants own."""

from datetime import UTC, datetime

import click

from trunkline.cli.capture_options import CaptureOptions, capture_options
from trunkline.cli.connection import client_command, head_argument, optional_tenant_argument
from trunkline.cli.decide_options import DecideOptions, decide_options
from trunkline.cli.export_import import export_head, import_head
from trunkline.cli.head_facts import print_head
from trunkline.cli.live import drop, feedback_of_head, promote
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Output, confirm
from trunkline.cli.retrain import retrain
from trunkline.cli.training_options import SpecOptions, policy_option, spec_options
from trunkline.cli.versions import delete_version, pin, unpin
from trunkline.clients.client import Client
from trunkline.resources import ALL, HeadName
from trunkline.values.heads import Head, HeadSpec
from trunkline.wording import age, counted, short_accuracy


@click.group()
def heads() -> None:
    """List, make, show, change, retrain, import, export and delete heads, choose their versions."""


@heads.command("list")
@optional_tenant_argument
@client_command
def list_heads(client: Client, out: Output, tenant: str | None) -> None:
    """List the heads of TENANT, or of all tenants, by name.

    Beside the version that answers stands its age, beside its accuracy the 95 % interval, and
    beside the number of feedbacks what they do (the policy).
    """
    now, rows = datetime.now(UTC), list(client.list_heads(tenant or ALL))
    out.listing(
        "heads",
        rows,
        {
            "head": lambda row: HeadName.parse(row.name).short,
            "backbone": lambda row: row.backbone,
            "version, age": lambda row: row.active_version and _dated(row, now),
            "accuracy": lambda row: short_accuracy(row.estimate),
            "examples": lambda row: row.example_count,
            "feedback, policy": lambda row: f"{row.feedback_count}, {row.policy}",
        },
    )
    if rows:
        next_step(out, "heads", "versions", HeadName.parse(rows[0].name).short)
    else:
        next_step(out, "train", f"{tenant or 'TENANT'}/HEAD", "PATH")


@heads.command()
@head_argument
@client_command
def show(client: Client, out: Output, head: str) -> None:
    """Show a head."""
    found = client.get_head(head)
    print_head(client, out, found)
    if found.training:
        next_step(out, "trainings", "show", head)
    elif found.active_version:
        next_step(out, "report", head)
    else:
        _next_training(out, head, found)


@heads.command()
@head_argument
@click.option("--backbone", metavar="NAME", required=True, help="The backbone, for good.")
@spec_options
@policy_option
@click.option(
    "--new-labels", is_flag=True, help="Let feedback bring labels that the head does not have."
)
@click.option("--keep-inputs", is_flag=True, help="Store raw inputs beside their embeddings.")
@decide_options
@capture_options
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
    decide: DecideOptions,
    capture: CaptureOptions,
) -> None:
    """Make an empty head on a backbone."""
    kept = capture.on(None)
    made = client.create_head(
        head,
        backbone,
        spec.on(HeadSpec()),
        keep_inputs=keep_inputs or spec.tunes,
        policy=policy,
        allow_new_labels=new_labels,
        decide=decide.on(None),
        capture=None if isinstance(kept, bool) else kept,
    )
    print_head(client, out, made)
    _say_captured(out, None, made)
    next_step(out, "train", head, "PATH")


@heads.command()
@head_argument
@spec_options
@policy_option
@click.option(
    "--new-labels/--no-new-labels",
    default=None,
    help="Whether feedback may bring labels that the head does not have.",
)
@decide_options
@capture_options
@client_command
def update(
    client: Client,
    out: Output,
    head: str,
    spec: SpecOptions,
    policy: str | None,
    new_labels: bool | None,
    decide: DecideOptions,
    capture: CaptureOptions,
) -> None:
    """Change a head: what feedback does, what it accepts, what it keeps, how it is trained."""
    before = client.get_head(head)
    changed, rule, kept = spec.on(before.spec), decide.on(before.decide), capture.on(before.capture)
    if all(one is None for one in (changed, policy, new_labels, rule, kept)):
        raise click.UsageError("Give at least one option that changes something.")
    found = client.update_head(
        head, changed, policy=policy, allow_new_labels=new_labels, decide=rule, capture=kept
    )
    print_head(client, out, found)
    _say_captured(out, before, found)
    if changed:
        _next_training(out, head, found)


@heads.command()
@head_argument
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@client_command
def delete(client: Client, out: Output, head: str, yes: bool) -> None:
    """Delete a head with its examples, versions and feedback."""
    confirm(f"Delete {head} with all that belongs to it?", yes=yes)
    client.delete_head(head)
    out.result({"deleted": head}, f"deleted {head}")
    next_step(out, "heads", "list", HeadName.read(head).tenant)


@heads.command()
@head_argument
@client_command
def versions(client: Client, out: Output, head: str) -> None:
    """List the versions of a head, newest first; accuracy has its 95 % interval."""
    now, rows = datetime.now(UTC), list(client.versions(head))
    out.listing(
        "versions",
        rows,
        {
            "version": lambda row: f"{row.version}, pinned" if row.pinned else row.version,
            "active": lambda row: row.active,
            "accuracy": lambda row: short_accuracy(row.estimate),
            "examples": lambda row: row.example_count,
            "classes": lambda row: len(row.labels),
            "age": lambda row: age(row.create_time, now),
            "source": lambda row: row.source,
            "tail": lambda row: row.tail and row.tail.strategy,
        },
    )
    if not rows:
        next_step(out, "train", head, "PATH")
    elif rows[0].active:
        next_step(out, "report", head)
    else:
        next_step(out, "heads", "activate", head, str(rows[0].version))


@heads.command()
@head_argument
@click.argument("version", type=click.IntRange(min=1), metavar="VERSION")
@client_command
def activate(client: Client, out: Output, head: str, version: int) -> None:
    """Make a version the one that answers; an earlier one rolls back."""
    before = client.get_head(head)
    activated = client.activate(head, version)
    if before.labels and (words := _label_changes(before.labels, activated.labels)):
        out.say(words)
    if words := _quarantine_changes(before, activated, version):
        out.say(words)
    print_head(client, out, activated)
    next_step(out, "predict", head, "PATH")


def _say_captured(out: Output, before: Head | None, head: Head) -> None:
    """Says once that inputs are kept."""
    if head.capture and not (before and before.capture):
        out.say(
            "inputs of its traffic are stored from now on, with the answers they get, for "
            f"{head.capture.days} days"
        )


def _next_training(out: Output, head: str, found: Head) -> None:
    """Says how to train a head: on what it has stored, or on what is yet to be uploaded."""
    next_step(out, "train", head, *(() if found.labelled_count else ("PATH",)))


def _dated(head: Head, now: datetime) -> str:
    """Names the active version, and how old it is if that is known."""
    made = head.active_version_time
    return f"{head.active_version}" + (f", {age(made, now)}" if made else "")


def _label_changes(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """Says which classes answers lose and gain; empty if none."""
    lost = ", ".join(label for label in before if label not in after)
    gained = ", ".join(label for label in after if label not in before)
    changes = [*([f"lose {lost}"] if lost else []), *([f"gain {gained}"] if gained else [])]
    return f"answers {' and '.join(changes)}" if changes else ""


def _quarantine_changes(before: Head, after: Head, version: int) -> str:
    """Says how much feedback counts no longer, or again; empty if none."""
    more = after.quarantined_count - before.quarantined_count
    if not more:
        return ""
    words, is_ = counted(abs(more), "feedback"), "is" if abs(more) == 1 else "are"
    if more < 0:
        return f"{words} that version {version} has learned {is_} out of quarantine"
    return (
        f"{words} that version {version} has not learned {is_} in quarantine: left out of "
        "trainings until released, or until a version that has learned it is activated"
    )


for command in (
    retrain,
    export_head,
    import_head,
    pin,
    unpin,
    delete_version,
    promote,
    drop,
    feedback_of_head,
):
    heads.add_command(command)
