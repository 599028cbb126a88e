"""Stored examples as a person names them: by digest, by file, folder or table, or as text."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.naming import input_name
from trunkline.cli.output import Failure, Output
from trunkline.clients.client import Client
from trunkline.datasets import Columns, Notes, read_inputs
from trunkline.digest import is_digest, text_digest
from trunkline.errors import FailedPrecondition, NotFound

Command = Callable[..., Any]

_DIGITS = re.compile("[0-9a-f]{8,64}")


def example_arguments(function: Command) -> Command:
    """Gives a command DIGEST|PATH..., --text and the columns of tables."""
    words = click.argument("words", nargs=-1, metavar="DIGEST|PATH...")
    texts = click.option(
        "--text", "texts", multiple=True, metavar="TEXT", help="A text (repeatable)."
    )
    return words(texts(column_options(labelled=False)(function)))


def named_examples(
    client: Client,
    out: Output,
    head: str,
    words: tuple[str, ...],
    texts: tuple[str, ...],
    columns: Columns,
) -> dict[str, str]:
    """Returns what examples are named by, by digest; what is left out of folders is printed.

    The beginning of a digest will do, from 8 digits on, where the head has one such example.
    """
    digits = {word: digits for word in words if (digits := _digits(word))}
    check_columns(columns, *(Path(word) for word in words if word not in digits))
    whole = _whole(client, head, [begun for begun in digits.values() if not is_digest(begun)])
    notes, names = Notes(), dict[str, str]()
    for word in words:
        if word in digits:
            names[whole.get(digits[word], digits[word])] = word
        else:
            inputs = read_inputs(Path(word), columns, notes)
            names |= {item.digest(): input_name(item) for item in inputs}
    names |= {text_digest(text): text for text in texts}
    if not names:
        raise click.UsageError("Give a DIGEST, a PATH or --text.")
    out.notices(notes.notices())
    return names


def _digits(word: str) -> str:
    """Returns the digest, or the beginning of one, that a word is; empty for a path."""
    digits = word.lower().rstrip("…")
    if Path(word).exists() or not _DIGITS.fullmatch(digits):
        return ""
    return digits


def _whole(client: Client, head: str, begun: list[str]) -> dict[str, str]:
    """Returns digests of the head's examples by their beginnings."""
    if not begun:
        return {}
    stored = [row.digest for row in client.list_examples(head, digests=begun)]
    found: dict[str, str] = {}
    for beginning in begun:
        matching = [digest for digest in stored if digest.startswith(beginning)]
        if len(matching) != 1:
            count = "no example" if not matching else f"{len(matching)} examples"
            words = f"{head} has {count} whose digest begins with {beginning}"
            raise Failure(words, NotFound.code if not matching else FailedPrecondition.code)
        found[beginning] = matching[0]
    return found
