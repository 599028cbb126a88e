"""What the demo says while it works: bars on a terminal, plain lines elsewhere."""

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
        """So much is done."""
        self._progress.update(self._task, completed=completed)

    def advance(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)


class Narrator:
    """Tells what happens on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)

    def title(self, words: str) -> None:
        """A new part begins."""
        self._console.print(words, style="bold", soft_wrap=True)

    def done(self, words: str) -> None:
        """A step is done."""
        self._console.print(f"  {words}", soft_wrap=True)

    @contextmanager
    def bar(self, description: str, total: float | None) -> Iterator[Bar]:
        """A bar for as long as the block lasts; `total` None for an unknown amount of work."""
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
