"""`trunkline examples …`: what is stored of a head, one by one."""

from collections.abc import Sequence

import click

from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.finding import search, similar
from trunkline.cli.metadata_options import metadata_option
from trunkline.cli.named_examples import example_arguments, examples_meant, named_examples
from trunkline.cli.next_step import example_word, next_step
from trunkline.cli.output import Failure, Output, confirm, plain
from trunkline.cli.stored_examples import example_columns
from trunkline.clients.client import Client
from trunkline.datasets import Columns
from trunkline.datasets.labels import nearest_label
from trunkline.values.examples import Example
from trunkline.values.notices import Notice
from trunkline.values.outcomes import Changes
from trunkline.wording import counted

_AT_ONCE = 1000
"""Digests in one request."""


@click.group()
def examples() -> None:
    """List, search, show, relabel and delete the stored examples of a head."""


examples.add_command(search)
examples.add_command(similar)


@examples.command("list")
@head_argument
@click.option("--label", metavar="CLASS", help="Only those of this class.")
@click.option("--unlabelled", is_flag=True, help="Only those without a label.")
@click.option("--held-out", is_flag=True, help="Only those that are kept for testing.")
@client_command
def list_examples(
    client: Client, out: Output, head: str, label: str | None, unlabelled: bool, held_out: bool
) -> None:
    """List the stored examples of a head, oldest first."""
    if label is not None and unlabelled:
        raise click.UsageError("Give --label or --unlabelled.")
    rows = [
        row
        for row in client.list_examples(head, label)
        if (row.held_out or not held_out) and (row.label is None or not unlabelled)
    ]
    _print(out, rows)
    if rows:
        _next_relabel(out, head, rows[0])
    elif held_out:
        next_step(out, "train", head, "PATH", "--test", "PATH")
    elif unlabelled:
        next_step(out, "label", head, "PATH")
    elif label is not None:
        next_step(out, "classes", "list", head)
    else:
        next_step(out, "train", head, "PATH")


@examples.command()
@head_argument
@example_arguments
@client_command
def show(
    client: Client,
    out: Output,
    head: str,
    words: tuple[str, ...],
    texts: tuple[str, ...],
    columns: Columns,
) -> None:
    """Show what is stored of examples; exits 1 if one is not there.

    Each is given as its digest or the beginning of it, by its name (what `examples list` calls it),
    as an image file, a folder or a table, or with --text.
    """
    names = named_examples(client, out, head, words, texts, columns)
    digests = list(names)
    found: list[Example] = []
    for begin in range(0, len(digests), _AT_ONCE):
        found += client.list_examples(head, digests=digests[begin : begin + _AT_ONCE])
    _print(out, found)
    missing = names.keys() - {row.digest for row in found}
    if missing:
        first = sorted(names[digest] for digest in missing)[0]
        out.say(f"{counted(len(missing), 'input')} of no example of {head}, such as {first}")
        raise click.exceptions.Exit(1)
    _next_relabel(out, head, found[0])


@examples.command()
@head_argument
@click.argument("label", metavar="CLASS")
@example_arguments
@client_command
def relabel(
    client: Client,
    out: Output,
    head: str,
    label: str,
    words: tuple[str, ...],
    texts: tuple[str, ...],
    columns: Columns,
) -> None:
    """Give examples another class, from the next training on; "" takes the label away.

    They are given as in `examples show`. Exits 1 if one could not be changed.
    """
    try:
        names = named_examples(client, out, head, words, texts, columns)
    except Failure as failure:
        raise _turned_round(client, head, words, failure) from failure
    new = label and label not in (known := {row.label for row in client.labels(head)})
    changes = client.update_examples(head, dict.fromkeys(names, label or None))
    if new and changes.changed:
        near = nearest_label(label, known)
        named = f"; nearest: {near!r}" if near else ""
        out.notices([Notice("new_class", f"new class {label!r}{named}", 1, ())])
    what = f"labelled {label}" if label else "left without a label"
    _print_changes(out, names, changes, f"{counted(changes.changed, 'example')} {what}")
    next_step(out, "train", head)


@examples.command()
@head_argument
@example_arguments
@metadata_option("Those whose metadata has this pair")
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@client_command
def delete(
    client: Client,
    out: Output,
    head: str,
    words: tuple[str, ...],
    texts: tuple[str, ...],
    columns: Columns,
    pairs: dict[str, str],
    yes: bool,
) -> None:
    """Delete examples; what has learned from them stays (see `trunkline forget`).

    They are given as in `examples show`, or with --metadata. Exits 1 if one could not be deleted.
    """
    names = examples_meant(client, out, head, words, texts, columns, pairs)
    confirm(f"Delete {counted(len(names), 'example')} of {head}?", yes=yes)
    changes = client.delete_examples(head, list(names))
    _print_changes(out, names, changes, f"deleted {counted(changes.changed, 'example')}")
    next_step(out, "train", head)


def _turned_round(client: Client, head: str, words: Sequence[str], failure: Failure) -> Failure:
    """Returns the failure, which says so where the class was given last, as `feedback` takes it."""
    if words and words[-1] in client.get_head(head).labels:
        order = f"relabel takes the class first: relabel {head} CLASS EXAMPLE…"
        return Failure(f"{failure.message}; {order}", failure.code)
    return failure


def _next_relabel(out: Output, head: str, row: Example) -> None:
    word = example_word(row.digest, row.external_id)
    next_step(out, "examples", "relabel", head, "CLASS", word)


def _print(out: Output, rows: Sequence[Example]) -> None:
    out.listing("examples", rows, example_columns(rows))


def _print_changes(out: Output, names: dict[str, str], changes: Changes, words: str) -> None:
    out.result(plain(changes) | {"notices": plain(out.noticed)}, words)
    digests = list(names)
    out.failures([(names[digests[row.row]], row) for row in changes.failures])
    if changes.failures:
        raise click.exceptions.Exit(1)
