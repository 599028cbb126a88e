"""`trunkline backbones`."""

import click

from trunkline.cli.connection import client_command
from trunkline.cli.output import Output
from trunkline.client import Client


@click.command()
@client_command
def backbones(client: Client, out: Output) -> None:
    """List the backbones that the server has loaded."""
    rows = client.backbones()
    if out.as_json:
        out.document({"backbones": rows})
        return
    columns = ["name", "modality", "dim", "engine", "device", "ready", "fingerprint"]
    out.table(columns, [[getattr(row, column) for column in columns] for row in rows])
