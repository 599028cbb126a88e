"""``make bench-advice``: is what is advised within a point of the best on held-out data?

Prints progress to standard error and a Markdown table to standard output.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from benchmarks.advice.data import DATA, load
from benchmarks.advice.held_out import measure
from benchmarks.learning.runs import Run
from service.config import default_cache_dir


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.advice", description=__doc__)
    cache = default_cache_dir()
    parser.add_argument("--cache", type=Path, default=cache, help="where embeddings are kept")
    parser.add_argument("--splits", type=int, default=5, help="seeded splits of each cell")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that everything works"
    )
    options = parser.parse_args()
    run = Run(options.cache, options.splits, options.quick, Console(stderr=True))
    for name in DATA:  # before two processes would
        load(name, run.cache)
    for table in measure(run):
        print(table.markdown(), flush=True)


if __name__ == "__main__":
    main()
