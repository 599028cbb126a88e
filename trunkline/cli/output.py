"""What commands print: JSON or tables on standard output, words and errors on standard error."""

import dataclasses
import errno
import json
import math
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import IO, Any, TypeVar

import click
from rich.console import Console, JustifyMethod
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from trunkline.errors import TrunklineError
from trunkline.labels import visible
from trunkline.values.notices import Notice
from trunkline.values.outcomes import RowFailure

T = TypeVar("T")

_SHOWN_FAILURES = 10
_SHOWN_NAMES = 3
_SHOWN_DIGEST = 16
_DIGEST = re.compile("[0-9a-f]{64}")
_FIGURE = re.compile(r"-|[-+]?[0-9][0-9.,e+-]*%?")


@dataclasses.dataclass(frozen=True)
class Output:
    """Where a command's results go. With `as_json`, only JSON is on standard output.

    `noticed` are the notices that were printed so far.
    """

    as_json: bool
    noticed: list[Notice] = dataclasses.field(default_factory=list)

    def document(self, value: Any) -> None:
        """Prints the command's one JSON document."""
        click.echo(json.dumps(plain(value), indent=2))

    def line(self, value: Any) -> None:
        """Prints one JSON line."""
        click.echo(json.dumps(plain(value)))

    def result(self, value: Any, words: str) -> None:
        """Prints the command's JSON document, or the words for a person in its place."""
        if self.as_json:
            self.document(value)
        else:
            click.echo(words)

    def listing(
        self, name: str, rows: Iterable[T], columns: Mapping[str, Callable[[T], object]]
    ) -> None:
        """Prints a list, under its name in JSON; as a table it has what `columns` say of a row."""
        rows = list(rows)
        if self.as_json:
            self.document({name: rows})
        else:
            self.rows(rows, columns)

    def rows(
        self, rows: Iterable[T], columns: Mapping[str, Callable[[T], object]], title: str = ""
    ) -> None:
        """Prints a table of what `columns` say of each row."""
        self.table([*columns], ([cell(row) for cell in columns.values()] for row in rows), title)

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = ""
    ) -> None:
        """Prints a table with a header; one with a title is left out if it has no rows."""
        cells = [[_cell(value) for value in row] for row in rows]
        if title and not cells:
            return
        if title:
            click.echo(f"\n{title}")
        table = Table(box=None, pad_edge=False, header_style="bold")
        for number, column in enumerate(columns):
            figures = cells and all(_FIGURE.fullmatch(row[number]) for row in cells)
            # The first column names the row: it is there to be copied.
            align: JustifyMethod = "right" if figures else "left"
            table.add_column(column, justify=align, no_wrap=number == 0, overflow="fold")
        for row in cells:
            table.add_row(*row)
        _console().print(table)

    def facts(self, facts: Mapping[str, object], title: str = "") -> None:
        """Prints names and values, one pair a line, under a title if there is one."""
        if title:
            click.echo(f"\n{title}")
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in facts.items():
            table.add_row(name, _cell(value))
        _console().print(table)

    def words(self, text: str, bullet: str = "") -> None:
        """Prints a paragraph, or a point of a list, in lines that the terminal has room for."""
        after = " " * len(bullet)
        lines = textwrap.wrap(
            one_line(text),
            _console().width,
            initial_indent=bullet,
            subsequent_indent=after,
            break_on_hyphens=False,
        )
        click.echo("\n".join(lines if bullet else ["", *lines]))

    def say(self, words: str) -> None:
        """Prints words for a person on standard error."""
        click.echo("\n".join(map(visible, words.split("\n"))), err=True)

    def progress(self, *columns: ProgressColumn, transient: bool = False) -> Progress:
        """Makes a progress bar on standard error.

        A `transient` one leaves nothing behind: it is for terminals alone.
        """
        console = _console(stderr=True)
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            *columns,
            TimeElapsedColumn(),
            console=console,
            transient=transient,
            redirect_stdout=False,  # results go where they are sent, not to the bar's terminal
            disable=transient and not console.is_terminal,
        )

    def failures(self, failures: Sequence[tuple[str, RowFailure]]) -> None:
        """Names the first failed rows on standard error."""
        for name, failure in failures[:_SHOWN_FAILURES]:
            self.say(f"failed: {one_line(name)}: {one_line(failure.message)}")
        if len(failures) > _SHOWN_FAILURES:
            self.say(f"failed: {len(failures) - _SHOWN_FAILURES:,} more")

    def notices(self, notices: Iterable[Notice]) -> None:
        """Prints what was left out or changed on standard error, one line a reason; notes it."""
        for notice in notices:
            self.noticed.append(notice)
            named = ", ".join(map(_short, notice.names[:_SHOWN_NAMES]))
            more = notice.count - min(len(notice.names), _SHOWN_NAMES)
            rest = f" and {more:,} more" if named and more else ""
            self.say(notice.words + (f": {named}{rest}" if named else ""))


def confirm(question: str, *, yes: bool) -> None:
    """Asks whether it is meant, unless `yes` says so; what cannot be asked needs `--yes`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Without a terminal, give --yes.")
    click.confirm(question, abort=True, err=True)


class Failure(click.ClickException):
    """Ends the program with exit status 1 and one line on standard error."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {one_line(self.message)}", err=True)


class ErrorsAsLines(click.Group):
    """A group whose commands end with one line, never with a traceback, where the client fails."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TrunklineError as error:
            raise Failure(described(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of the output has left: click's business
                raise
            raise Failure(str(error)) from error


def described(error: TrunklineError) -> str:
    """Describes an error in one line, with all that the server said of it."""
    named = {
        "field": error.field,
        "limit": error.limit,
        "value": error.value,
        "request": error.request_id,
    }
    details = ", ".join(f"{name} {value}" for name, value in named.items() if value)
    return f"{error.message} ({details})" if details else error.message


def failure_words(failure: RowFailure) -> str:
    """Describes why a row failed, with field, limit and value where they are known.

    The server's words for some inputs have them already.
    """
    if failure.limit and f"limit: {failure.limit}" in failure.message:
        return failure.message
    named = {"field": failure.field, "limit": failure.limit, "value": failure.value}
    details = ", ".join(f"{name} {value}" for name, value in named.items() if value)
    return f"{failure.message} ({details})" if details else failure.message


def plain(value: Any) -> Any:
    """Returns a value as JSON has it: dataclasses as objects, times in ISO 8601.

    JSON has no number that is not finite; such a one is null.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def one_line(text: str) -> str:
    """Returns the text without line breaks, and without what no terminal can show."""
    return visible(" ".join(text.split()))


def named_failures(failures: Iterable[tuple[str, RowFailure]]) -> list[dict[str, object]]:
    """Returns failed rows as JSON has them, each with what a person calls its input."""
    return [{"name": name, **plain(failure)} for name, failure in failures]


def short_digest(digest: str) -> str:
    """Returns the beginning of a digest, enough to tell it from others."""
    return digest[:_SHOWN_DIGEST] + "…"


def _short(name: str) -> str:
    return short_digest(name) if _DIGEST.fullmatch(name) else one_line(name)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case tuple():
            return visible(", ".join(map(str, value)))
    return visible(str(value))


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)
