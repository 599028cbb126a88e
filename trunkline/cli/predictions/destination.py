"""Where the rows of `trunkline predict` go, and how many there are."""

from pathlib import Path
from typing import Self

import click

from trunkline.cli.predictions.answers_file import Answered, open_after
from trunkline.cli.predictions.requests import Outcome
from trunkline.cli.predictions.rows import ENCODING, Form
from trunkline.datasets import FileInput
from trunkline.values.outcomes import RowFailure
from trunkline.wording import counted


class Destination:
    """Standard output, or a file that may have rows `before` these (None: it is to be new)."""

    def __init__(self, form: Form, path: Path | None, before: Answered | None) -> None:
        self._form = form
        self._path = path
        self._before = before or Answered()
        self._rows = 0
        self.failed = self._before.failed
        self._file = open_after(path, before) if path is not None else None

    def __enter__(self) -> Self:
        if not self._before.end and self._form.header:
            self._write(self._form.header)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def is_file(self) -> bool:
        """Whether the rows go to a file."""
        return self._path is not None

    @property
    def before(self) -> int:
        """How many rows the file had."""
        return self._before.rows

    def unanswered(self, part: list[FileInput]) -> list[FileInput]:
        """Returns the inputs of which the file had no row."""
        return [item for item in part if not self._before.take(item)]

    @property
    def unseen(self) -> int:
        """How many rows the file has of inputs that did not come."""
        return self._before.inputs.total()

    def add(self, item: FileInput, outcome: Outcome) -> None:
        """Writes a row. It is with the system when this returns."""
        self._write(self._form.row(item, outcome))
        self._rows += 1
        self.failed += isinstance(outcome, RowFailure)

    def words(self) -> str:
        """Says how many rows there are, and where."""
        words = f"{counted(self._rows, 'row')} answered"
        if self._before.rows:
            words += f", {self._before.rows + self._rows:,} in all"
        words += f", {self.failed:,} failed" if self.failed else ""
        return f"{words}: {self._path}" if self._path else words

    def how_to_go_on(self) -> str:
        """Says what goes on after a break."""
        if self._path is None:
            return "; with --output FILE, --resume goes on after a break"
        return "; the same command with --resume goes on"

    def _write(self, line: str) -> None:
        data = line.encode(*ENCODING)
        if self._file is None:
            click.echo(data if self._form.is_csv else line, nl=False)
        else:
            self._file.write(data)
            self._file.flush()
