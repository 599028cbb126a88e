"""``make bench-tails``: how fast engines are, what fine-tuned tails gain, and what they cost.

Prints progress to standard error while it measures and Markdown tables to standard output, each
part as it ends and with the machine and the command at the end.
"""

from __future__ import annotations

from benchmarks.learning.parts import measure_parts

PARTS = ("rates", "epochs", "gain", "views", "mixed")
"""Modules of this package; each has a function `measure`."""

PACKAGES = ("numpy", "timm", "torch")


def main() -> None:
    """Run the parts that were asked for."""
    measure_parts("benchmarks.tails", __doc__, PARTS, splits=5, packages=PACKAGES)


if __name__ == "__main__":
    main()
