"""``make bench-learning``: how fast, how accurate and how honest heads learn.

Prints progress to standard error while it measures and Markdown tables to standard output, each
part as it ends and with the machine and the command at the end.
"""

from __future__ import annotations

import os

from benchmarks.learning.data import DATA, embedded
from benchmarks.learning.parts import measure_parts
from benchmarks.learning.runs import Run

PARTS = (
    "fits",
    "accuracy",
    "truth",
    "feedback",
    "interference",
    "many_heads",
    "gates",
    "suggestions",
)
"""Modules of this package; each has a function `measure`."""

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
PACKAGES = ("numpy", "scipy", "scikit-learn")

NOTE = "; one BLAS thread for all contenders, if not said otherwise"


def main() -> None:
    """Run the parts that were asked for."""
    measure_parts(
        "benchmarks.learning",
        __doc__,
        PARTS,
        splits=20,
        packages=PACKAGES,
        prepare=_prepare,
        note=NOTE,
    )


def _prepare(run: Run) -> None:
    if any(os.environ.get(name) != "1" for name in THREADS):
        raise SystemExit(
            f"set {' and '.join(THREADS)} to 1, so that all contenders have one thread: "
            "make bench-learning does"
        )
    for name in DATA:
        embedded(name, run.cache)  # computed before anything is timed, or in two processes


if __name__ == "__main__":
    main()
