"""``make bench-advice``: is what is advised within a point of the best on held-out data?

Prints progress to standard error and a Markdown table to standard output.
"""

from __future__ import annotations

import argparse

from benchmarks.advice.data import DATA, load
from benchmarks.advice.held_out import measure
from benchmarks.learning.runs import add_run_options, run_of


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.advice", description=__doc__)
    add_run_options(parser, splits=5)
    run = run_of(parser.parse_args())
    for name in DATA:  # before two processes would
        load(name, run.cache)
    for table in measure(run):
        print(table.markdown(), flush=True)


if __name__ == "__main__":
    main()
