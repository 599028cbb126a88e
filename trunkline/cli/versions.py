"""`trunkline heads pin`, `unpin` and `delete-version`: which versions of a head stay."""

from collections.abc import Sequence

import click

from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.output import Output, confirm
from trunkline.clients.client import Client
from trunkline.values.notices import Notice

_version_argument = click.argument("version", type=click.IntRange(min=1), metavar="VERSION")


@click.command()
@head_argument
@_version_argument
@client_command
def pin(client: Client, out: Output, head: str, version: int) -> None:
    """Keep a version from being deleted, by name or by the server's bound on versions."""
    pinned = client.pin_version(head, version)
    out.result(pinned, f"pinned version {version} of {head}")


@click.command()
@head_argument
@_version_argument
@client_command
def unpin(client: Client, out: Output, head: str, version: int) -> None:
    """Let go of a pinned version."""
    unpinned = client.pin_version(head, version, pinned=False)
    out.result(unpinned, f"version {version} of {head} is pinned no more")


@click.command("delete-version")
@head_argument
@_version_argument
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@client_command
def delete_version(client: Client, out: Output, head: str, version: int, yes: bool) -> None:
    """Delete a version for good, but for the active one and pinned ones."""
    confirm(f"Delete version {version} of {head}?", yes=yes)
    client.delete_version(head, version)
    out.result({"head": head, "deleted": version}, f"deleted version {version} of {head}")


def removed_notices(removed: Sequence[int]) -> list[Notice]:
    """Says which versions had to go for a new one; nothing if none."""
    if not removed:
        return []
    names = tuple(map(str, removed))
    are = "version is" if len(names) == 1 else "versions are"
    words = f"{len(names)} older {are} gone, since the server keeps a bounded number of each head"
    return [Notice("versions_removed", words, len(names), names)]
