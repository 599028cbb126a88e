"""`trunkline backbones …`: what the server has loaded."""

from collections.abc import Callable

import click

from trunkline.cli.connection import client_command
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Output
from trunkline.clients.client import Client
from trunkline.values.outcomes import Backbone

_NAME = click.argument("name", metavar="NAME")

_COLUMNS: dict[str, Callable[[Backbone], object]] = {
    "name": lambda row: row.name,
    "modality": lambda row: row.modality,
    "dim": lambda row: row.dim,
    "engine": lambda row: row.engine,
    "device": lambda row: row.device,
    "ready": lambda row: row.ready,
    "cut before": lambda row: row.cut or None,
    "tail blocks": lambda row: len(row.tail_blocks),
    "fingerprint": lambda row: row.fingerprint,
}


class _ListedByDefault(click.Group):
    """A group that lists when no command is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = args[:1] in (["-h"], ["--help"])
        commanded = bool(args) and not args[0].startswith("-")
        return super().parse_args(ctx, args if commanded or asks_for_help else ["list", *args])


@click.group(cls=_ListedByDefault)
def backbones() -> None:
    """List the backbones that the server has loaded, load and unload them."""


@backbones.command("list")
@client_command
def list_backbones(client: Client, out: Output) -> None:
    """List the backbones that the server has loaded."""
    rows = client.backbones()
    out.listing("backbones", rows, _COLUMNS)
    next_step(out, *(("advise", "PATH") if rows else ("backbones", "load", "NAME")))


@backbones.command()
@_NAME
@client_command
def load(client: Client, out: Output, name: str) -> None:
    """Load a backbone, from the server's own machine.

    The first time it may have to be fetched and exported. One that is loaded stays as it is.
    """
    loaded = client.load_backbone(name)
    if out.as_json:
        out.document(loaded)
    else:
        out.rows([loaded], _COLUMNS)
    next_step(out, "train", "TENANT/HEAD", "PATH", "--backbone", loaded.name)


@backbones.command()
@_NAME
@client_command
def unload(client: Client, out: Output, name: str) -> None:
    """Give a backbone's memory back, from the server's own machine.

    Its heads do not answer until it is loaded again.
    """
    out.listing("backbones", client.unload_backbone(name), _COLUMNS)
