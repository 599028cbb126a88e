"""The option that says pairs of metadata."""

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]


def metadata_option(what: str) -> Callable[[Command], Command]:
    """Gives a command `--metadata KEY=VALUE`, which it takes as one dict; `what` is its help."""
    return click.option(
        "--metadata",
        "pairs",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_pairs,
        help=f"{what} (repeatable; each of the pairs is meant).",
    )


def _pairs(
    context: click.Context, option: click.Parameter, words: tuple[str, ...]
) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{word!r} is not KEY=VALUE.", context, option)
        if pairs.setdefault(key, value) != value:
            raise click.BadParameter(f"{key} is given two values.", context, option)
    return pairs
