"""What fine-tuning gains on held-out photos of textiles over the linear head it starts from."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

import adapters
from adapters.tuning import tune
from benchmarks.learning.data import HELD_OUT
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, mean_error, percent, points
from benchmarks.tails.data import Cut, cut
from benchmarks.tails.epochs import BACKBONE

DATA, FLIPS = "textile", 3


@dataclass(frozen=True)
class Outcome:
    """One split: held-out accuracy and log-loss without and with tuning, and averaged over flips.

    Attributes:
        averaged: accuracy of what is served, with probabilities averaged over an image's flips.
        used: whether the tail was better on the folds, so that it is served.
    """

    plain: adapters.Estimate
    served: adapters.Estimate
    averaged: float
    used: bool
    epochs: int


def measure(run: Run) -> list[Table]:
    """Tune on seeded splits."""
    splits = run.size(run.splits, 1)
    data = cut(DATA, run.cache, FLIPS)
    size = run.size(len(data.labels) - HELD_OUT, 60)
    outcomes = []
    with run.steps("gain", splits) as done:
        for seed in range(splits):
            outcomes.append(_outcome(run, data, size, seed))
            done()
    return [_table(outcomes, size)]


def _outcome(run: Run, data: Cut, size: int, seed: int) -> Outcome:
    train, test = train_test_split(
        np.arange(len(data.labels)),
        train_size=size,
        test_size=HELD_OUT,
        stratify=data.labels,
        random_state=seed,
    )
    labels, truth = data.labels[train].tolist(), data.labels[test].tolist()
    epochs = run.size(adapters.FineTune().max_epochs, 1)
    settings = adapters.FineTune("tail", max_epochs=epochs, views=FLIPS, flips=True)
    spec = adapters.HeadSpec(seed=seed, fine_tune=settings)
    embeddings = data.embeddings[train]
    plain = adapters.fit(embeddings, labels, spec, fingerprint="frozen")
    plain = adapters.diagnose(plain, embeddings, labels)
    tuned = tune(
        data.tail,
        data.activations.take(train),
        labels,
        spec,
        base=plain,
        embeddings=embeddings,
        name=lambda tensors: "tuned",
        clock=time.perf_counter,
    )
    views = data.embed({} if tuned.tail is None else tuned.tail.tensors, test)
    report = tuned.fitted.report.fine_tuning
    assert report is not None
    return Outcome(
        plain=adapters.evaluate(plain.head, data.embeddings[test], truth).estimate,
        served=adapters.evaluate(tuned.fitted.head, views[0], truth).estimate,
        averaged=_averaged(tuned.fitted.head, views, truth),
        used=report.used,
        epochs=report.epochs,
    )


def _averaged(head: adapters.Head, views: NDArray[np.float32], truth: list[str]) -> float:
    probabilities = np.mean([head.probabilities(view) for view in views], axis=0)
    named = np.array(head.labels)[probabilities.argmax(axis=1)]
    return float(np.mean(named == truth))


def _table(found: list[Outcome], size: int) -> Table:
    plain = np.array([one.plain.accuracy for one in found])
    served = np.array([one.served.accuracy for one in found])
    averaged = np.array([one.averaged for one in found])
    loss, error = mean_error([one.served.log_loss - one.plain.log_loss for one in found])
    row = (
        f"{size:,}",
        percent(plain.mean()),
        percent(served.mean()),
        points(served - plain),
        percent(averaged.mean()),
        points(averaged - plain),
        f"{loss:+.3f} ± {error:.3f}",
        f"{sum(one.used for one in found)} of {len(found)}",
        f"{np.mean([one.epochs for one in found]):.1f}",
    )
    columns = (
        *("examples", "linear head", "tail", "gain, points", "over flips", "gain, points"),
        *("log-loss", "tail used", "epochs"),
    )
    return Table(
        f"What fine-tuning gains on held-out data: {DATA}, `{BACKBONE}`",
        columns,
        [row],
        f"All blocks after the cut, {FLIPS} flips to train on. Means over {len(found)} seeded "
        f"splits, {HELD_OUT} held-out examples; differences are paired, with their standard error. "
        "Over "
        "flips: probabilities averaged over the image and its flips. Where the tail was not better "
        "on the folds, the linear head is what is served.",
    )
