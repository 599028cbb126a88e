"""The demo's progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.progress import TaskProgressColumn

from trunkline.cli.output import Output


def title(words: str) -> None:
    """Prints the title of a new part."""
    click.secho(words, bold=True, err=True)


def done(words: str) -> None:
    """Prints what a step has done."""
    click.echo(f"  {words}", err=True)


@contextmanager
def bar(description: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """Shows a bar while the block lasts, and gives what sets how much is done.

    Args:
        total: how much work there is; None where it is unknown.
    """
    with Output(as_json=False).progress(TaskProgressColumn(), transient=True) as progress:
        task = progress.add_task(f"  {description:8}", total=total)
        yield lambda completed: progress.update(task, completed=completed)
