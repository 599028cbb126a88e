"""How far a head's own estimate is from its accuracy on held-out data.

For each of the demo's data sets, each family and two sizes, a head is trained on seeded random
splits. The table shows the mean of (estimate - held-out accuracy) in points, with its standard
error. A last table is about photos that are stored again and again (`copies`). Embeddings are
computed once with the default backbones and kept in the cache folder.

    python -m benchmarks.honesty [--cache FOLDER] [--splits 20] [--data textile ... copies]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import adapters
from benchmarks import copies
from benchmarks.learning.data import DATA, embedded
from benchmarks.learning.tables import points
from benchmarks.learning.truth import FEW, Trial, measure_trial

COPIES = "copies"
FAMILIES = (*adapters.FAMILIES, "auto")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cache", type=Path, help="where embeddings are kept")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--data", nargs="+", choices=[*DATA, COPIES], default=[*DATA, COPIES])
    options = parser.parse_args()
    cache = options.cache or Path(tempfile.mkdtemp(prefix="trunkline-honesty-"))
    print(f"estimate - held-out accuracy, points, mean of {options.splits} splits ± its error")
    print(f"{'data':10} {'family':9} {'examples':>8} {'estimate':>9} {'held-out':>9} {'gap':>14}")
    for name in (name for name in options.data if name != COPIES):
        for size in (FEW, embedded(name, cache).all):
            for family in FAMILIES:
                trials = [
                    measure_trial(Trial(cache, name, size, seed, family))
                    for seed in range(options.splits)
                ]
                guess = np.array([trial.estimate for trial in trials])
                truth = np.array([trial.accuracy for trial in trials])
                print(
                    f"{name:10} {family:9} {size:8d} {100 * guess.mean():8.2f}% "
                    f"{100 * truth.mean():8.2f}% {points(guess - truth):>14}",
                    flush=True,
                )
    if COPIES in options.data:
        copies.measure(cache, options.splits, FAMILIES)


if __name__ == "__main__":
    main()
