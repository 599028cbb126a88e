"""Whether labelling what is suggested beats labelling at random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import adapters
from adapters.active_learning import suggest
from benchmarks.learning.data import Embedded, Rows, embedded
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, mean_error, percent, points

SETS = ("textile", "digits")
BUDGETS = (100, 200)
SEEDS, BATCH = 20, 20
RANDOM = "random"


@dataclass(frozen=True)
class Labelling:
    """Somebody who labels what one strategy (None: the default) names, batch by batch."""

    cache: Path
    data: str
    strategy: str | None
    seed: int
    budgets: tuple[int, ...]


def measure(run: Run) -> list[Table]:
    """Label with both strategies from the same pools."""
    seeds = range(run.size(SEEDS, 2))
    budgets = BUDGETS if not run.quick else (20, 40)
    tasks = [
        Labelling(run.cache, name, strategy, seed, budgets)
        for name in SETS
        for seed in seeds
        for strategy in (None, RANDOM)
    ]
    found = run.in_processes("suggestions", _accuracies, tasks)
    rows = []
    for name in SETS:
        for index, budget in enumerate(budgets):
            ours, theirs = (
                np.array(
                    [
                        shares[index]
                        for task, shares in zip(tasks, found, strict=True)
                        if (task.data, task.strategy) == (name, strategy)
                    ]
                )
                for strategy in (None, RANDOM)
            )
            mean, error = mean_error(ours - theirs)
            better = "yes" if mean > 2 * error else "no"
            shares = (percent(ours.mean()), percent(theirs.mean()))
            rows.append((name, str(budget), *shares, points(ours - theirs), better))
    columns = ("data set", "labels", "default", "random", "difference, points", "better")
    note = (
        f"Held-out accuracy of `auto` after so many labels, {BATCH} at a time; {len(seeds)} paired "
        "seeds. Better: by more than two standard errors."
    )
    return [Table("What to label next", columns, rows, note)]


def _accuracies(task: Labelling) -> list[float]:
    """Return the held-out accuracy at each budget."""
    data = embedded(task.data, task.cache)
    pool, test = data.split(data.all, task.seed)
    labelled = np.empty(0, dtype=np.intp)
    head: adapters.Head | None = None
    found = []
    while len(labelled) < max(task.budgets):
        rest = np.setdiff1d(pool, labelled)
        chosen = suggest(
            data.embeddings[rest],
            BATCH,
            head=head,
            labelled=data.embeddings[labelled],
            strategy=task.strategy,
            seed=task.seed + len(labelled),
        )
        labelled = np.concatenate([labelled, rest[chosen]])
        head = _trained(data, labelled, task.seed)
        if len(labelled) in task.budgets:
            found.append(_accuracy(head, data, test))
    return found


def _trained(data: Embedded, rows: Rows, seed: int) -> adapters.Head | None:
    """Return a head, or None while all examples have one label."""
    embeddings, labels = data.take(rows)
    if len(set(labels)) < 2:
        return None
    spec = adapters.HeadSpec(seed=seed)
    return adapters.fit(embeddings, labels, spec, fingerprint="benchmark").head


def _accuracy(head: adapters.Head | None, data: Embedded, test: Rows) -> float:
    if head is None:
        return 0.0
    answers = np.array(head.labels)[head.logits(data.embeddings[test]).argmax(axis=1)]
    return float(np.mean(answers == data.labels[test]))
