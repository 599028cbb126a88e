"""Options that name the columns of tables."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trunkline.datasets import TABLE_SUFFIXES, Columns

Command = Callable[..., Any]

_INPUT = (
    click.option(
        "--text-column",
        metavar="NAME",
        help="The column of a table that holds the texts (default: text).",
    ),
    click.option(
        "--path-column",
        metavar="NAME",
        help="The column of a table that holds the images' paths (default: path).",
    ),
)
_LABELS = (
    click.option(
        "--label-column",
        metavar="NAME",
        help="The column of a table that holds the labels (default: label).",
    ),
    click.option(
        "--group-column",
        metavar="NAME",
        help="The column of a table that says which rows belong together, such as photos of one "
        "scene (default: none does).",
    ),
    click.option(
        "--metadata-column",
        "metadata_columns",
        multiple=True,
        metavar="[KEY=]NAME",
        help="A column of a table that is stored with its examples as metadata, under the column's "
        "name or KEY (repeatable; default: none is).",
    ),
)


def column_options(*, labelled: bool) -> Callable[[Command], Command]:
    """Gives a command `--text-column` and its kin, which it takes as one `columns`."""
    options = _INPUT + _LABELS if labelled else _INPUT

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def command(
            text_column: str | None,
            path_column: str | None,
            label_column: str | None = None,
            group_column: str | None = None,
            metadata_columns: tuple[str, ...] = (),
            **parameters: Any,
        ) -> Any:
            if text_column is not None and path_column is not None:
                raise click.UsageError("Give --text-column or --path-column.")
            metadata = tuple(map(_key_and_column, metadata_columns))
            columns = Columns(text_column, path_column, label_column, group_column, metadata)
            return function(**parameters, columns=columns)

        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _key_and_column(word: str) -> tuple[str, str]:
    """Returns the key of a column's metadata, its name unless it is said, and the column."""
    key, equals, column = word.partition("=")
    return (key, column) if equals else (word, word)


def check_columns(columns: Columns, *paths: Path | None) -> None:
    """Raises `click.UsageError` if columns are named and none of the paths given is a table."""
    tables = [path for path in paths if path and path.suffix.lower() in TABLE_SUFFIXES]
    if columns != Columns() and not tables:
        raise click.UsageError("Columns are named, but there is no table.")
