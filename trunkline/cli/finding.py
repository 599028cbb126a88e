"""`trunkline examples search` and `trunkline examples similar`."""

import os
from collections.abc import Sequence
from pathlib import Path

import click

from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.metadata_options import metadata_option
from trunkline.cli.named_examples import named_examples
from trunkline.cli.next_step import example_word, next_step
from trunkline.cli.output import Output
from trunkline.cli.stored_examples import example_columns
from trunkline.clients.client import Client
from trunkline.datasets import Columns, FileInput, Notes, read_inputs
from trunkline.values.examples import Example
from trunkline.values.inputs import Digest, Text
from trunkline.wording import counted


@click.command()
@head_argument
@click.option(
    "--text",
    default="",
    metavar="WORDS",
    help='Words of a kept text, in any order and any case; those in "double quotes" as they stand.',
)
@metadata_option("A pair that its metadata has")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Its name (repeatable).")
@click.option("--label", metavar="CLASS", help="Its class.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    metavar="N",
    help="Find at most so many.",
)
@client_command
def search(
    client: Client,
    out: Output,
    head: str,
    text: str,
    pairs: dict[str, str],
    names: tuple[str, ...],
    label: str | None,
    limit: int,
) -> None:
    """Find the stored examples of a head that have all that is given, oldest first."""
    if not (text or pairs or names or label is not None):
        raise click.UsageError("Give --text, --metadata, --name or --label.")
    found = client.search_examples(
        head, external_ids=names, metadata=pairs, label=label, text=text, limit=limit
    )
    if out.as_json:
        out.document(found)
    else:
        out.rows(found.examples, example_columns(found.examples))
    if found.not_searched:
        out.say(f"{counted(found.not_searched, 'example')} not searched: no text of them is kept")
    if found.more:
        out.say(f"there are more; --limit {limit} ends here")
    if found.examples:
        _next_relabel(out, head, found.examples[0])
    else:
        next_step(out, "examples", "list", head)


@click.command()
@head_argument
@click.argument("words", nargs=-1, metavar="DIGEST|NAME|PATH")
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text.")
@click.option(
    "--count", type=click.IntRange(1, 100), default=10, show_default=True, help="Find so many."
)
@click.option("--unlabelled", is_flag=True, help="Look among those without a label, too.")
@client_command
def similar(
    client: Client,
    out: Output,
    head: str,
    words: tuple[str, ...],
    texts: tuple[str, ...],
    count: int,
    unlabelled: bool,
) -> None:
    """Find the labelled examples of a head that are most like an input, nearest first.

    It is an example, given as its digest or its name, or a new input: a file, or --text.
    """
    if len(words) + len(texts) != 1:
        raise click.UsageError("Give one DIGEST, NAME or PATH, or --text.")
    item = _one_input(client, out, head, words, texts)
    found = client.find_similar(head, item, count, unlabelled=unlabelled)
    if out.as_json:
        out.document(found)
    else:
        cosines = {row.example.digest: row.similarity for row in found.similar}
        rows = [row.example for row in found.similar]
        first = {"similarity": lambda row: f"{cosines[row.digest]:.4f}"}
        out.rows(rows, first | example_columns(rows))
    if found.truncated:
        out.say("the text is longer than the backbone's window, beyond which nothing counts")
    if found.not_compared:
        out.say(f"{counted(found.not_compared, 'example')} not compared: without an embedding")
    if found.similar:
        _next_relabel(out, head, found.similar[0].example)
    else:
        next_step(out, "examples", "list", head)


def _one_input(
    client: Client, out: Output, head: str, words: Sequence[str], texts: Sequence[str]
) -> FileInput | Digest:
    if texts:
        return Text(texts[0])
    if not os.path.exists(words[0]):
        (digest,) = named_examples(client, out, head, tuple(words), (), Columns())
        return Digest(digest)
    notes = Notes()
    items = list(read_inputs(Path(words[0]), Columns(), notes))
    out.notices(notes.notices())
    if len(items) != 1:
        raise click.UsageError(f"{words[0]} has {counted(len(items), 'input')}: name one.")
    return items[0]


def _next_relabel(out: Output, head: str, row: Example) -> None:
    word = example_word(row.digest, row.external_id)
    next_step(out, "examples", "relabel", head, "CLASS", word)
