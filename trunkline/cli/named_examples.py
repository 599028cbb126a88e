"""Stored examples as a person names them: by digest, name, file, folder or table, or as text."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from trunkline.cli.column_options import check_columns, column_options
from trunkline.cli.naming import input_name
from trunkline.cli.output import Failure, Output
from trunkline.clients.client import Client
from trunkline.datasets import Columns, Notes, read_inputs
from trunkline.datasets.names import MOST_BYTES
from trunkline.digest import is_digest, text_digest
from trunkline.errors import FailedPrecondition, NotFound
from trunkline.labels import visible

Command = Callable[..., Any]

_DIGITS = re.compile("[0-9a-f]{8,64}")

_AT_ONCE = 1000
"""Names in one request."""
_TOLD, _TOLD_DIGITS = 5, 16


def example_arguments(function: Command) -> Command:
    """Gives a command DIGEST|NAME|PATH..., --text and the columns of tables."""
    words = click.argument("words", nargs=-1, metavar="DIGEST|NAME|PATH...")
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

    The beginning of a digest will do, from 8 digits on, or an external id, where the head has one
    such example. What is a file, a folder or a table is meant as that.
    """
    files = {word: Path(word) for word in words if os.path.exists(word)}
    check_columns(columns, *files.values())
    found = _find(client, head, [word for word in words if word not in files])
    notes, names = Notes(), dict[str, str]()
    for word in words:
        if word in found:
            names[found[word]] = word
        else:
            inputs = read_inputs(Path(word), columns, notes)
            names |= {item.digest(): input_name(item) for item in inputs}
    names |= {text_digest(text): text for text in texts}
    if not names:
        raise click.UsageError("Give a DIGEST, a NAME, a PATH or --text.")
    out.notices(notes.notices())
    return names


def examples_meant(
    client: Client,
    out: Output,
    head: str,
    words: tuple[str, ...],
    texts: tuple[str, ...],
    columns: Columns,
    pairs: Mapping[str, str],
) -> dict[str, str]:
    """Returns what examples are named by, or what those with all the pairs are called, by digest.

    Raises `Failure` if none has them.
    """
    if not pairs:
        return named_examples(client, out, head, words, texts, columns)
    if words or texts:
        raise click.UsageError("Give --metadata, or name examples.")
    found = client.search_examples(head, metadata=pairs, limit=None).examples
    if not found:
        shown = ", ".join(f"{key}={value}" for key, value in pairs.items())
        raise Failure(f"{head} has no example with {shown}", NotFound.code)
    return {row.digest: row.external_id or row.digest for row in found}


def _digits(word: str) -> str:
    """Returns the digest, or the beginning of one, that a word may be; empty if it is none."""
    digits = word.lower().rstrip("…")
    return digits if _DIGITS.fullmatch(digits) else ""


def _may_be_name(word: str) -> bool:
    """Returns whether an example can have this external id."""
    try:
        return len(word.encode()) <= MOST_BYTES and visible(word) == word
    except UnicodeEncodeError:
        return False


def _find(client: Client, head: str, words: Sequence[str]) -> dict[str, str]:
    """Returns digests of the head's examples by the words that they are called by.

    A word that can be neither is left out. A whole digest stands for itself if no example has it:
    feedback may. Raises `Failure` for another word that stands for no example, or for several.
    """
    found: dict[str, str] = {}
    for begin in range(0, len(words), _AT_ONCE):
        part = [word for word in words[begin : begin + _AT_ONCE] if _may_be_name(word)]
        begun = [digits for word in part if (digits := _digits(word))]
        stored = list(client.list_examples(head, digests=begun)) if begun else []
        called = defaultdict[str, set[str]](set)
        for row in client.list_examples(head, external_ids=part) if part else ():
            called[row.external_id or ""].add(row.digest)
        for word in part:
            if digits := _digits(word):
                called[word] |= {row.digest for row in stored if row.digest.startswith(digits)}
            found[word] = _only(head, word, sorted(called[word]))
    return found


def _only(head: str, word: str, digests: Sequence[str]) -> str:
    if len(digests) == 1:
        return digests[0]
    if not digests and is_digest(whole := _digits(word)):
        return whole
    named = f"named {word}"
    if _digits(word):
        named = f"whose digest begins with {word}, or that is called so"
    if not digests:
        words = f"{head} has no example {named}, and there is no such file"
        raise Failure(words, NotFound.code)
    which = ", ".join(digest[:_TOLD_DIGITS] for digest in digests[:_TOLD])
    more = f" and {len(digests) - _TOLD} more" if len(digests) > _TOLD else ""
    words = f"{head} has {len(digests)} examples {named}: name one by its digest ({which}{more})"
    raise Failure(words, FailedPrecondition.code)
