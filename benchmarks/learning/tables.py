"""Figures and the Markdown tables they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Figures = Sequence[float]


@dataclass(frozen=True)
class Table:
    """A Markdown table with a heading and, below it, what one needs to know to read it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join(part for part in (f"### {self.title}", table, self.note) if part)


def mean_error(values: Figures) -> tuple[float, float]:
    """Return the mean and its standard error; the latter is nan for a single value."""
    numbers = np.asarray(values, dtype=float)
    if len(numbers) < 2:
        return float(numbers.mean()), float("nan")
    return float(numbers.mean()), float(numbers.std(ddof=1) / np.sqrt(len(numbers)))


def geometric_mean(values: Figures) -> float:
    """Return the geometric mean of positive numbers."""
    return float(np.exp(np.mean(np.log(values))))


def percent(share: float) -> str:
    """Return a share as per cent."""
    return f"{100 * share:.1f} %"


def points(values: Figures) -> str:
    """Return shares as points: their mean and its standard error."""
    mean, error = mean_error(values)
    return f"{100 * mean:+.2f} ± {100 * error:.2f}"


def yes_or_no(met: bool) -> str:
    """Say whether a target was met."""
    return "yes" if met else "**no**"
