"""`trunkline forget`."""

import click

from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.metadata_options import metadata_option
from trunkline.cli.named_examples import example_arguments, examples_meant
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Output, confirm, echo, plain
from trunkline.clients.client import Client
from trunkline.datasets import Columns
from trunkline.wording import counted


@click.command(short_help="Make a head forget examples for good.")
@head_argument
@example_arguments
@metadata_option("Those whose metadata has this pair")
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@client_command
def forget(
    client: Client,
    out: Output,
    head: str,
    words: tuple[str, ...],
    texts: tuple[str, ...],
    yes: bool,
    columns: Columns,
    pairs: dict[str, str],
) -> None:
    """Make a head forget examples for good, with every version that knew one of them.

    Each is given as its digest, by its name, as an image file, a folder or a table, or with --text;
    --metadata means all that have a pair.
    A new version is fitted without them before the command ends. Exits 1 if one could not be
    forgotten.
    """
    names = examples_meant(client, out, head, words, texts, columns, pairs)
    confirm(f"Forget {counted(len(names), 'example')} of {head} for good?", yes=yes)
    digests = list(names)
    if pairs:  # what came meanwhile is meant, too
        result = client.forget_examples(head, metadata=pairs)
    else:
        result = client.forget_examples(head, digests)
    if out.as_json:
        out.document(plain(result) | {"notices": plain(out.noticed)})
    else:
        version = "none" if result.version is None else str(result.version)
        forgot = counted(result.forgotten, "example")
        echo(f"forgot {forgot}; the version that answers now: {version}")
        if result.deleted_versions:
            echo(f"gone with them: versions {', '.join(map(str, result.deleted_versions))}")
        if result.held_by:
            echo(f"held still by: {', '.join(result.held_by)}")
    out.failures([(names[digests[row.row]], row) for row in result.failures])
    if result.failures:
        raise click.exceptions.Exit(1)
    next_step(out, "heads", "versions", head)
