"""How a run of the benchmark goes: its size, its progress, its two processes."""

from __future__ import annotations

import argparse
import multiprocessing
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from service.config import default_cache_dir

T = TypeVar("T")
R = TypeVar("R")

PROCESSES = 2
"""That share the trainings of accuracy figures; times are always taken in one."""


@dataclass(frozen=True)
class Run:
    """What was asked for.

    Attributes:
        cache: folder with the embeddings and the exported backbones.
        splits: seeded splits behind every accuracy.
        quick: whether sizes are tiny, to see that everything works; the figures mean nothing then.
        console: where progress is shown.
    """

    cache: Path
    splits: int
    quick: bool
    console: Console

    def size(self, full: int, quick: int) -> int:
        """Return one of two sizes."""
        return quick if self.quick else full

    @contextmanager
    def steps(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Show progress over `total` steps; the block calls what it is given after each."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(what, total=total)
            yield lambda: progress.advance(task)

    def in_processes(self, what: str, function: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
        """Return what `function` makes of each task, in order; long tasks should come first."""
        context = multiprocessing.get_context("spawn")
        with (
            self.steps(what, len(tasks)) as done,
            ProcessPoolExecutor(PROCESSES, mp_context=context) as pool,
        ):
            futures = [pool.submit(function, task) for task in tasks]
            for future in futures:
                future.add_done_callback(lambda _: done())
            return [future.result() for future in futures]


def add_run_options(parser: argparse.ArgumentParser, splits: int) -> None:
    """Add what `run_of` reads; `splits` is the default."""
    kept = "where embeddings and backbones are kept"
    parser.add_argument("--cache", type=Path, default=default_cache_dir(), help=kept)
    parser.add_argument(
        "--splits", type=int, default=splits, help="seeded splits behind every accuracy"
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that everything works"
    )


def run_of(options: argparse.Namespace) -> Run:
    """Return the run that the options ask for."""
    return Run(options.cache, options.splits, options.quick, Console(stderr=True))


def processor() -> str:
    """Name the machine's processor."""
    path = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (path.read_text().splitlines() if path.exists() else ())
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()
