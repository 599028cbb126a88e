"""`trunkline heads …`: what a tenant owns."""

import sys
from pathlib import Path

import click

from trunkline.cli.connection import (
    chosen_spec,
    client_command,
    head_argument,
    spec_options,
    tenant_argument,
)
from trunkline.cli.output import Output, size
from trunkline.client import Client
from trunkline.values import Head, HeadSpec

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def heads() -> None:
    """List, make, show, import, export and delete heads, and choose their versions."""


@heads.command("list")
@tenant_argument
@client_command
def list_heads(client: Client, out: Output, tenant: str) -> None:
    """List the heads of a tenant."""
    rows = list(client.list_heads(tenant))
    if out.as_json:
        out.document({"heads": rows})
        return
    columns = ["head", "backbone", "active version", "classes", "examples", "feedback"]
    out.table(
        columns,
        [
            (
                row.name.rpartition("/")[2],
                row.backbone,
                row.active_version,
                len(row.labels),
                row.example_count,
                row.feedback_count,
            )
            for row in rows
        ],
    )


@heads.command()
@head_argument
@client_command
def show(client: Client, out: Output, head: str) -> None:
    """Show a head."""
    _print_head(out, client.get_head(head))


@heads.command()
@head_argument
@click.option("--backbone", metavar="NAME", required=True, help="The backbone, for good.")
@spec_options
@click.option("--keep-inputs", is_flag=True, help="Store raw inputs beside their embeddings.")
@client_command
def create(
    client: Client,
    out: Output,
    head: str,
    backbone: str,
    family: str | None,
    seed: int | None,
    l2: float | None,
    keep_inputs: bool,
) -> None:
    """Make an empty head on a backbone."""
    spec = chosen_spec(family, seed, l2, HeadSpec())
    _print_head(out, client.create_head(head, backbone, spec, keep_inputs=keep_inputs))


@heads.command()
@head_argument
@click.option("--yes", is_flag=True, help="Do not ask, on a terminal, whether it is meant.")
@client_command
def delete(client: Client, out: Output, head: str, yes: bool) -> None:
    """Delete a head with its examples, versions and feedback."""
    if not yes and sys.stdin.isatty():
        click.confirm(f"Delete {head} with all that belongs to it?", abort=True, err=True)
    client.delete_head(head)
    if out.as_json:
        out.document({"deleted": head})
    else:
        click.echo(f"deleted {head}")


@heads.command()
@head_argument
@client_command
def versions(client: Client, out: Output, head: str) -> None:
    """List the versions of a head, newest first."""
    rows = list(client.versions(head))
    if out.as_json:
        out.document({"versions": rows})
        return
    columns = ["version", "active", "source", "family", "examples", "classes", "created (UTC)"]
    out.table(
        columns,
        [
            (
                row.version,
                row.active,
                row.source,
                row.family,
                row.example_count,
                len(row.labels),
                row.create_time,
            )
            for row in rows
        ],
    )


@heads.command()
@head_argument
@click.argument("version", type=click.IntRange(min=1), metavar="VERSION")
@client_command
def activate(client: Client, out: Output, head: str, version: int) -> None:
    """Make a version the one that answers; an earlier one rolls back."""
    _print_head(out, client.activate(head, version))


@heads.command("export")
@head_argument
@click.argument("file", type=_FILE, metavar="FILE.safetensors")
@click.option(
    "--version", type=click.IntRange(min=1), help="The version (default: the active one)."
)
@client_command
def export_head(client: Client, out: Output, head: str, file: Path, version: int | None) -> None:
    """Write a version's weights to a safetensors file."""
    export = client.export_head(head, version)
    file.write_bytes(export.safetensors)
    if out.as_json:
        out.document({"file": str(file), "version": export.version})
    else:
        written = size(len(export.safetensors))
        click.echo(f"wrote version {export.version.version} of {head} to {file} ({written})")


@heads.command("import")
@head_argument
@click.argument("file", type=_FILE, metavar="FILE.safetensors")
@click.option("--backbone", metavar="NAME", required=True, help="The backbone it was trained on.")
@click.option(
    "--fingerprint",
    metavar="HEX",
    help="The backbone's fingerprint (default: the file's, else the loaded backbone's).",
)
@click.option(
    "--labels",
    metavar="A,B,C",
    help="The label of each row of the weights (default: the file's metadata).",
)
@click.option(
    "--no-activate",
    "activate_it",
    flag_value=False,
    type=bool,
    default=True,
    help="Leave the version that answers as it is.",
)
@client_command
def import_head(
    client: Client,
    out: Output,
    head: str,
    file: Path,
    backbone: str,
    fingerprint: str | None,
    labels: str | None,
    activate_it: bool,
) -> None:
    """Make a version from the weights in a safetensors file, and the head if there is none."""
    version = client.import_head(
        head,
        file.read_bytes(),
        backbone,
        fingerprint=fingerprint,
        labels=labels.split(",") if labels else (),
        activate=activate_it,
    )
    if out.as_json:
        out.document(version)
    else:
        click.echo(f"imported as version {version.version} of {head}")


def _print_head(out: Output, head: Head) -> None:
    if out.as_json:
        out.document(head)
        return
    spec = head.spec
    out.facts(
        {
            "name": head.name,
            "uid": head.uid,
            "backbone": head.backbone,
            "fingerprint": head.fingerprint,
            "spec": f"family {spec.family}, seed {spec.seed}, l2 {spec.l2 or 'chosen'}",
            "keeps inputs": head.keep_inputs,
            "active version": head.active_version,
            "labels": head.labels,
            "examples": f"{head.example_count}, {head.labelled_count} of them labelled",
            "feedback": head.feedback_count,
            "created (UTC)": head.create_time,
            "training": head.training,
        }
    )
