"""`trunkline backbones …`: what the server has loaded."""

from collections.abc import Sequence

import click

from trunkline.cli.connection import client_command
from trunkline.cli.output import Output
from trunkline.clients.client import Client
from trunkline.values.outcomes import Backbone

_NAME = click.argument("name", metavar="NAME")


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
    if out.as_json:
        out.document({"backbones": rows})
    else:
        _print(out, rows)


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
        _print(out, [loaded])


@backbones.command()
@_NAME
@client_command
def unload(client: Client, out: Output, name: str) -> None:
    """Give a backbone's memory back, from the server's own machine.

    Its heads do not answer until it is loaded again.
    """
    left = client.unload_backbone(name)
    if out.as_json:
        out.document({"backbones": left})
    else:
        _print(out, left)


def _print(out: Output, rows: Sequence[Backbone]) -> None:
    facts = ["name", "modality", "dim", "engine", "device", "ready"]
    out.table(
        [*facts, "cut before", "tail blocks", "fingerprint"],
        [
            (
                *(getattr(row, fact) for fact in facts),
                row.cut or None,
                len(row.tail_blocks),
                row.fingerprint,
            )
            for row in rows
        ],
    )
