"""The demo's progress: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)


class Bar:
    """One progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def set(self, completed: float) -> None:
        """Sets how much is done."""
        self._progress.update(self._task, completed=completed)

    def advance(self) -> None:
        """Adds one to what is done."""
        self._progress.advance(self._task)


class Narrator:
    """Reports progress on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)

    def title(self, words: str) -> None:
        """Prints the title of a new part."""
        self._console.print(words, style="bold", soft_wrap=True)

    def done(self, words: str) -> None:
        """Prints what a step has done."""
        self._console.print(f"  {words}", soft_wrap=True)

    @contextmanager
    def bar(self, description: str, total: float | None) -> Iterator[Bar]:
        """Shows a bar while the block lasts; `total` None for an unknown amount of work."""
        progress = Progress(
            TextColumn(f"  {description:8}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        with progress:
            yield Bar(progress, progress.add_task(description, total=total))
