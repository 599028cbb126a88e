"""How a check is shown to a person."""

from __future__ import annotations

import click
from rich.progress import Progress, TaskID

from service.check.findings import Finding
from trunkline.cli.failing import error_line
from trunkline.cli.output import Failure, Output


class Bar:
    """One progress bar, for each check in turn."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def begin(self, name: str) -> None:
        """Begins with the check of this name."""
        self.end()
        self._task = self._bars.add_task(name.replace("_", " "), total=None)

    def advance(self, done: int, total: int) -> None:
        """Shows how much of how much was looked at."""
        assert self._task is not None
        self._bars.update(self._task, completed=done, total=total)

    def end(self) -> None:
        """Shows that all was looked at."""
        if self._task is not None:
            self._bars.update(self._task, completed=1, total=1)


def print_failure(out: Output, words: str) -> None:
    """Prints why nothing could be done, with `--json` as a document, too."""
    failure = Failure(words)
    if out.as_json:
        click.echo(error_line(failure))
    failure.show()


def print_finding(out: Output, finding: Finding) -> None:
    """Prints what is wrong, where, and what to do about it."""
    where = [finding.head] if finding.head else []
    if finding.version:
        where.append(f"version {finding.version}")
    if finding.digest:
        where.append(finding.digest)
    if finding.label is not None:
        where.append(f"label {finding.label}")
    place = f"{', '.join(where)}: " if where else ""
    out.words(f"{finding.check}: {place}{finding.words}", bullet="- ")
    out.words(finding.remedy, bullet="  ")
