"""`trunkline forget`."""

import sys
from pathlib import Path

import click

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.output import Output, plain
from trunkline.clients.client import Client
from trunkline.datasets import Columns, Notes, read_inputs
from trunkline.digest import is_digest, text_digest


@click.command(short_help="Make a head forget examples for good.")
@head_argument
@click.argument("words", nargs=-1, metavar="DIGEST|PATH...")
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text (repeatable).")
@click.option("--yes", is_flag=True, help="Do not ask, on a terminal, whether it is meant.")
@column_options(labelled=False)
@client_command
def forget(
    client: Client,
    out: Output,
    head: str,
    words: tuple[str, ...],
    texts: tuple[str, ...],
    yes: bool,
    columns: Columns,
) -> None:
    """Make a head forget examples for good, with every version that knew one of them.

    Each is given as its digest, as an image file, a folder or a table, or with --text. A new
    version is fitted without them before the command ends. Exits 1 if one could not be forgotten.
    """
    check_columns(columns, *map(Path, words))
    notes = Notes()
    names = {digest: word for word in words for digest in _digests(word, columns, notes)}
    names |= {text_digest(text): text for text in texts}
    if not names:
        raise click.UsageError("Give a DIGEST, a PATH or --text.")
    out.notices(notes.notices())
    if not yes and sys.stdin.isatty():
        click.confirm(f"Forget {len(names)} examples of {head} for good?", abort=True, err=True)
    digests = list(names)
    result = client.forget_examples(head, digests)
    if out.as_json:
        out.document(plain(result) | {"notices": plain(out.noticed)})
    else:
        version = "none" if result.version is None else str(result.version)
        click.echo(f"forgot {result.forgotten} examples; the version that answers now: {version}")
        if result.deleted_versions:
            click.echo(f"gone with them: versions {', '.join(map(str, result.deleted_versions))}")
        if result.held_by:
            click.echo(f"held still by: {', '.join(result.held_by)}")
    out.failures([(names[digests[row.row]], row) for row in result.failures])
    if result.failures:
        raise click.exceptions.Exit(1)


def _digests(word: str, columns: Columns, notes: Notes) -> list[str]:
    if is_digest(word):
        return [word.lower()]
    return [item.digest() for item in read_inputs(Path(word), columns, notes)]
