"""What fine-tuning gains on held-out data over the linear head that it starts from."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

import adapters
from adapters.tuning import tune
from benchmarks.learning.data import DATA, HELD_OUT
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, mean_error, percent, points
from benchmarks.tails.data import Cut, cut

STRATEGIES = ("tail", "gradual", "last_block")
VIEWS = 3


@dataclass(frozen=True)
class Outcome:
    """One split: held-out accuracy and log-loss of the head without and with tuning."""

    plain: adapters.Estimate
    served: adapters.Estimate
    used: bool
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Cell:
    """What is tuned how: a row of the table."""

    data: str
    strategy: str
    views: int


def measure(run: Run) -> list[Table]:
    """Tune on seeded splits of every data set."""
    names = list(DATA)[: run.size(len(DATA), 1)]
    cells = [Cell(name, STRATEGIES[0], views) for name in names for views in _views(name)]
    cells += [Cell("textile", strategy, VIEWS) for strategy in STRATEGIES[1 : run.size(3, 1)]]
    splits = run.size(run.splits, 1)
    outcomes: dict[Cell, list[Outcome]] = {cell: [] for cell in cells}
    with run.steps("gains", len(cells) * splits) as done:
        for cell in cells:
            data = cut(cell.data, run.cache, cell.views)
            for seed in range(splits):
                outcomes[cell].append(_outcome(run, cell, data, seed))
                done()
    return [_table(outcomes)]


def _views(name: str) -> tuple[int, ...]:
    return (0,) if DATA[name][0] == "text" else (0, VIEWS)


def _outcome(run: Run, cell: Cell, data: Cut, seed: int) -> Outcome:
    rest, test = train_test_split(
        np.arange(len(data.labels)), test_size=HELD_OUT, stratify=data.labels, random_state=seed
    )
    train = rest[: run.size(len(rest), 60)]
    labels, truth = data.labels[train].tolist(), data.labels[test].tolist()
    settings = adapters.FineTune(
        cell.strategy, max_epochs=run.size(adapters.FineTune().max_epochs, 1)
    )
    spec = adapters.HeadSpec(seed=seed, fine_tune=settings)
    embeddings = data.embeddings[train]
    plain = adapters.fit(embeddings, labels, spec, fingerprint="frozen")
    plain = adapters.diagnose(plain, embeddings, labels)
    started = time.perf_counter()
    tuned = tune(
        data.tail,
        data.activations.take(train, cell.views),
        labels,
        spec,
        base=plain,
        embeddings=embeddings,
        name=lambda tensors: "tuned",
        clock=time.perf_counter,
        threads=os.cpu_count(),
    )
    seconds = time.perf_counter() - started
    features = data.embeddings[test]
    without = adapters.evaluate(plain.head, features, truth).estimate
    if tuned.tail is not None:
        features = data.embed(tuned.tail.tensors, test)
    served = adapters.evaluate(tuned.fitted.head, features, truth).estimate
    report = tuned.fitted.report.fine_tuning
    assert report is not None
    return Outcome(without, served, report.used, report.epochs, seconds)


def _table(outcomes: dict[Cell, list[Outcome]]) -> Table:
    rows = []
    for cell, found in outcomes.items():
        plain = np.array([one.plain.accuracy for one in found])
        served = np.array([one.served.accuracy for one in found])
        losses = [one.served.log_loss - one.plain.log_loss for one in found]
        loss, error = mean_error(losses)
        rows.append(
            (
                cell.data,
                cell.strategy,
                str(cell.views),
                percent(plain.mean()),
                percent(served.mean()),
                points(served - plain),
                f"{loss:+.3f} ± {error:.3f}",
                f"{sum(one.used for one in found)} of {len(found)}",
                f"{np.mean([one.epochs for one in found]):.1f}",
                f"{np.median([one.seconds for one in found]) / 60:.1f} min",
            )
        )
    columns = (
        *("data set", "strategy", "views", "linear head", "fine-tuned", "gain, points"),
        *("log-loss", "tail used", "epochs", "time"),
    )
    splits = len(next(iter(outcomes.values())))
    return Table(
        "What fine-tuning gains on held-out data",
        columns,
        rows,
        f"Means over {splits} seeded splits; all but {HELD_OUT} examples to learn from, the others "
        "to measure on. Differences are paired, with their standard error. Where the tail was not "
        "better on the folds, the linear head is what is served, and the gain is nought.",
    )
