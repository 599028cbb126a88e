"""What commands print: JSON or tables on standard output, words and errors on standard error."""

import dataclasses
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import IO, Any, TypeVar

import click
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from trunkline.cli.tables import facts_lines, fits, has_styles, table_lines, terminal_width, wrapped
from trunkline.errors import Cancelled, FailedPrecondition, TrunklineError, Unauthenticated
from trunkline.labels import visible
from trunkline.values.notices import Notice
from trunkline.values.outcomes import RowFailure

T = TypeVar("T")

_PRINTED = "trunkline.document_printed"
_SHOWN_FAILURES = 10
_SHOWN_NAMES = 3
_SHOWN_DIGEST = 16
_DIGEST = re.compile("[0-9a-f]{64}")
_MOST_CLASSES = 12


@dataclasses.dataclass(frozen=True)
class Output:
    """Where a command's results go. With `as_json`, only JSON is on standard output.

    `noticed` are the notices that were printed so far.
    """

    as_json: bool
    noticed: list[Notice] = dataclasses.field(default_factory=list)

    def document(self, value: Any) -> None:
        """Prints the command's one JSON document."""
        if context := click.get_current_context(silent=True):
            context.meta[_PRINTED] = True
        click.echo(json.dumps(plain(value), indent=2))

    def line(self, value: Any) -> None:
        """Prints one JSON line."""
        click.echo(json.dumps(plain(value)))

    def result(self, value: Any, words: str) -> None:
        """Prints the command's JSON document, or the words for a person in its place."""
        if self.as_json:
            self.document(value)
        else:
            echo(words)

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
        _print_title(title)
        header, lines = table_lines(columns, cells, terminal_width(sys.stdout))
        if has_styles():
            header = [click.style(line, bold=True) for line in header]
        for line in [*header, *lines]:
            click.echo(line)

    def matrix(self, labels: Sequence[str], counts: Sequence[Sequence[int]], title: str) -> None:
        """Prints how often a label, by row, was taken for another, by column.

        Columns are numbered where their labels have no room side by side.
        """
        if len(labels) > _MOST_CLASSES:
            self.words(f"{title}: left out, as {len(labels)} classes have no room; see --json")
            return
        corner = "true \\ taken for"
        header = [corner, *map(visible, labels)]
        rows = [[label, *map(str, row)] for label, row in zip(header[1:], counts, strict=True)]
        if not fits(header, rows, terminal_width(sys.stdout)):
            header = [corner, *(str(number) for number in range(1, len(rows) + 1))]
            rows = [[f"{number} {label}", *row] for number, (label, *row) in enumerate(rows, 1)]
        self.table(header, rows, title)

    def facts(self, facts: Mapping[str, object], title: str = "") -> None:
        """Prints names and values, one pair a line, under a title if there is one."""
        _print_title(title)
        pairs = ((name, _cell(value)) for name, value in facts.items())
        for line in facts_lines(pairs, terminal_width(sys.stdout)):
            click.echo(line)

    def words(self, text: str, bullet: str = "") -> None:
        """Prints a paragraph, or a point of a list, in lines that the terminal has room for."""
        width = terminal_width(sys.stdout)
        first, *others = wrapped(one_line(text), None if width is None else width - len(bullet))
        if not bullet:
            click.echo()
        click.echo(bullet + first)
        for line in others:
            click.echo(" " * len(bullet) + line)

    def code(self, lines: str) -> None:
        """Prints lines of a program as they stand, to be copied."""
        click.echo(f"\n{lines.rstrip()}")

    def say(self, words: str) -> None:
        """Prints words for a person on standard error."""
        echo(words, err=True)

    def progress(self, *columns: ProgressColumn, transient: bool = False) -> Progress:
        """Makes a progress bar on standard error, which is there where that is a terminal.

        A `transient` one leaves nothing behind.
        """
        console = _console()
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            *columns,
            TimeElapsedColumn(),
            console=console,
            transient=transient,
            redirect_stdout=False,  # results go where they are sent, not to the bar's terminal
            disable=not console.is_terminal,
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


def echo(words: str, *, err: bool = False) -> None:
    """Prints lines of words, broken where the terminal has no room for one."""
    width = terminal_width(sys.stderr if err else sys.stdout)
    for line in words.split("\n"):
        shown = "\n".join(wrapped(visible(line), width))
        if err and isinstance(sys.stderr, FileProxy):
            print(shown, file=sys.stderr)  # above the progress bar, of which click knows nothing
        else:
            click.echo(shown, err=err)


def confirm(question: str, *, yes: bool) -> None:
    """Asks whether it is meant, unless `yes` says so; what cannot be asked needs `--yes`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Without a terminal, give --yes.")
    width = terminal_width(sys.stderr)
    lines = wrapped(question, width and width - len(" [y/N]: y"))
    if not click.confirm("\n".join(lines), err=True):
        raise Failure("not confirmed: it was not done", Cancelled.code)


class Failure(click.ClickException):
    """Ends the program with exit status 1 and one line on standard error.

    `code` is what JSON calls it: the name of a gRPC code.
    """

    def __init__(self, message: str, code: str = FailedPrecondition.code) -> None:
        super().__init__(message)
        self.code = code

    def show(self, file: IO[Any] | None = None) -> None:
        echo(f"error: {one_line(self.message)}", err=True)


def document_printed() -> bool:
    """Returns whether the command that runs has printed its one JSON document, or begun to."""
    context = click.get_current_context(silent=True)
    return context is not None and _PRINTED in context.meta


def described(error: TrunklineError) -> str:
    """Describes an error in one line, with all that the server said of it."""
    named = {
        "field": error.field,
        "limit": error.limit,
        "value": error.value,
        "request": error.request_id,
    }
    details = ", ".join(f"{name} {value}" for name, value in named.items() if value)
    message = error.message
    if isinstance(error, Unauthenticated):
        message += "; `trunkline login` stores one for this server, TRUNKLINE_TOKEN shows one"
    return f"{message} ({details})" if details else message


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
        case str() if _DIGEST.fullmatch(value):
            return short_digest(value)
        case tuple():
            return visible(", ".join(map(str, value)))
    return visible(str(value))


def _print_title(title: str) -> None:
    if title:
        click.echo(f"\n{title}")


def _console() -> Console:
    return Console(
        stderr=True,
        color_system="auto" if has_styles() else None,
        markup=False,
        highlight=False,
        emoji=False,
    )
