"""A program that measures part by part: its options, its progress, and what it ran on."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

from benchmarks.learning.runs import Run, add_run_options, processor, run_of
from benchmarks.learning.tables import Table

Measure = Callable[[Run], list[Table]]


def measure_parts(
    package: str,
    description: str | None,
    parts: Sequence[str],
    *,
    splits: int,
    packages: Sequence[str],
    prepare: Callable[[Run], object] = lambda run: None,
    note: str = "",
) -> None:
    """Print the tables of the parts that were asked for, each as it ends, and the machine.

    Args:
        package: full name of the program's package.
        description: what its help says.
        parts: modules of the package; each has a function `measure`.
        splits: seeded splits behind every accuracy, if not asked for otherwise.
        packages: whose versions are told.
        prepare: what is done before the first part.
        note: what else the figures stand on.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description=description)
    add_run_options(parser, splits)
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    run = run_of(options)
    started = time.perf_counter()
    prepare(run)
    for part in options.parts:
        begun = time.perf_counter()
        measure: Measure = importlib.import_module(f"{package}.{part}").measure
        for table in measure(run):
            print(table.markdown() + "\n", flush=True)
        minutes = (time.perf_counter() - begun) / 60
        run.console.print(f"{part}: {minutes:.1f} minutes")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    command = shlex.join(["python", "-m", package, *sys.argv[1:]])
    print(
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}; "
        f"Python {platform.python_version()}, {versions}{note}. "
        f"`{command}`, {(time.perf_counter() - started) / 60:.0f} minutes."
    )
