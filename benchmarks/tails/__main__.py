"""``make bench-tails``: how fast engines are, what fine-tuned tails gain, and what they cost.

Prints progress to standard error while it measures and Markdown tables to standard output, each
part as it ends and with the machine and the command at the end.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks.learning.runs import Run, processor
from benchmarks.learning.tables import Table
from service.config import default_cache_dir

PARTS = ("rates", "epochs", "gain", "views", "mixed")
"""Modules of this package; each has a function `measure`."""

PACKAGES = ("numpy", "timm", "torch")

Measure = Callable[[Run], list[Table]]


def main() -> None:
    """Run the parts that were asked for."""
    run, parts = _options()
    started = time.perf_counter()
    for part in parts:
        begun = time.perf_counter()
        measure: Measure = importlib.import_module(f"benchmarks.tails.{part}").measure
        for table in measure(run):
            print(table.markdown() + "\n", flush=True)
        minutes = (time.perf_counter() - begun) / 60
        run.console.print(f"{part}: {minutes:.1f} minutes")
    print(_circumstances(time.perf_counter() - started))


def _options() -> tuple[Run, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tails", description=__doc__)
    cache = default_cache_dir()
    parser.add_argument("--cache", type=Path, default=cache, help="where backbones are kept")
    parser.add_argument("--splits", type=int, default=5, help="seeded splits of each gain")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that everything works"
    )
    options = parser.parse_args()
    run = Run(options.cache, options.splits, options.quick, Console(stderr=True))
    return run, options.parts


def _circumstances(seconds: float) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    command = shlex.join(["python", "-m", "benchmarks.tails", *sys.argv[1:]])
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}; "
        f"Python {platform.python_version()}, {packages}. "
        f"`{command}`, {seconds / 60:.0f} minutes."
    )


if __name__ == "__main__":
    main()
