"""``make bench``: the serving figures, in one table."""

from __future__ import annotations

import argparse

from rich.console import Console

from benchmarks.serving import measure
from service.config import default_cache_dir


def main() -> None:
    """Runs the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one run")
    args = parser.parse_args()
    measure(default_cache_dir(), Console(), args.rounds, args.seconds)


if __name__ == "__main__":
    main()
