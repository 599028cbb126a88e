"""How accurate ``auto`` is on held-out data, beside the baseline on the same splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import adapters
from benchmarks.learning import baseline
from benchmarks.learning.data import DATA, embedded
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, mean_error, percent, points, yes_or_no

SIZES = (50, 200, 1000)
TOLERANCE = 0.005
"""That a cell may be below the baseline, besides two standard errors."""


@dataclass(frozen=True)
class Cell:
    """A data set and a number of examples."""

    data: str
    size: int


@dataclass(frozen=True)
class Split:
    """One seeded split of a cell."""

    cache: Path
    cell: Cell
    seed: int


def measure(run: Run) -> list[Table]:
    """Fit both on every split of every cell."""
    cells = [Cell(name, size) for name in DATA for size in _sizes(name, run)]
    seeds = range(run.size(run.splits, 2))
    tasks = [Split(run.cache, cell, seed) for cell in cells for seed in seeds]
    tasks.sort(key=lambda split: -split.cell.size)
    results = run.in_processes("accuracy", _accuracies, tasks)
    by_cell: dict[Cell, list[tuple[float, float]]] = {cell: [] for cell in cells}
    for task, result in zip(tasks, results, strict=True):
        by_cell[task.cell].append(result)
    return [_table(by_cell)]


def _sizes(name: str, run: Run) -> tuple[int, ...]:
    return SIZES[:1] if run.quick else (*SIZES, embedded(name, run.cache).all)


def _accuracies(split: Split) -> tuple[float, float]:
    """Return the held-out accuracy of `auto` and of the baseline."""
    data = embedded(split.cell.data, split.cache)
    train, test = data.split(split.cell.size, split.seed)
    embeddings, labels = data.take(train)
    spec = adapters.HeadSpec(seed=split.seed)
    head = adapters.fit(embeddings, labels, spec, fingerprint="benchmark").head
    other = baseline.fit(embeddings, labels)
    truth = data.labels[test]
    ours = np.array(head.labels)[head.logits(data.embeddings[test]).argmax(axis=1)]
    theirs = other.predict(data.embeddings[test])
    return float(np.mean(ours == truth)), float(np.mean(theirs == truth))


def _table(by_cell: dict[Cell, list[tuple[float, float]]]) -> Table:
    rows, means = [], []
    for cell, pairs in by_cell.items():
        ours, theirs = np.array(pairs).T
        mean, error = mean_error(ours - theirs)
        means.append(mean)
        met = yes_or_no(mean >= -TOLERANCE - 2 * np.nan_to_num(error))
        size = f"{cell.size:,}" if cell.size in SIZES else f"all ({cell.size:,})"
        shares = (percent(ours.mean()), percent(theirs.mean()))
        rows.append((cell.data, size, *shares, points(ours - theirs), met))
    average = float(np.mean(means))
    rows.append(
        ("average of the cells", "", "", "", f"{100 * average:+.2f}", yes_or_no(average >= 0))
    )
    splits = len(next(iter(by_cell.values())))
    return Table(
        "Accuracy on held-out data",
        ("data set", "examples", "`auto`", f"`{baseline.NAME}`", "difference, points", "met"),
        rows,
        f"Means over {splits} seeded splits; differences are paired, with their standard error. "
        "Wanted: at least -0.5 points minus 2 standard errors in every cell, and at least 0 on the "
        "average of the cells.",
    )
