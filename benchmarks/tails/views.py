"""What a tuning that chooses its views comes to, beside tunings that are told which."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

import adapters
from adapters.spec import CROPS, FLIPS, ViewSet
from adapters.tuning import tune
from benchmarks.learning.data import HELD_OUT
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, percent, points
from benchmarks.tails.data import Cut, Stored, cut
from benchmarks.tails.epochs import BACKBONE

NAMES = ("textile", "digits")
SIZE = 120
WAYS: dict[str, adapters.FineTune] = {
    "chosen": adapters.FineTune("tail"),
    "none": adapters.FineTune("tail", views=0),
    "flips": adapters.FineTune("tail", flips=True),
}
"""The default, `--tune-views 0` and `--flips`."""


@dataclass(frozen=True)
class Outcome:
    """One split: held-out accuracy and seconds of each way, and which views were chosen."""

    accuracy: dict[str, float]
    seconds: dict[str, float]
    views: str


class Kept:
    """Checkpoints in memory: what one way has trained, the others need not train again."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def load(self, name: str) -> bytes | None:
        """Return what was saved last under that name."""
        return self._files.get(name)

    def save(self, name: str, data: bytes) -> None:
        """Keep a file."""
        self._files[name] = data


def measure(run: Run) -> list[Table]:
    """Tune in all ways on seeded splits of each data set."""
    size, splits = run.size(SIZE, 60), run.size(run.splits, 1)
    sets = {name: cut(name, run.cache, FLIPS, CROPS, size + HELD_OUT) for name in NAMES}
    found: dict[str, list[Outcome]] = {name: [] for name in NAMES}
    with run.steps("views", splits * len(NAMES)) as done:
        for seed in range(splits):
            for name, data in sets.items():
                found[name].append(_outcome(run, data, size, seed))
                run.console.print(f"{name}, split {seed}: {found[name][-1]}")
                done()
    return [_table(name, outcomes, size) for name, outcomes in found.items()]


def _outcome(run: Run, data: Cut, size: int, seed: int) -> Outcome:
    train, test = train_test_split(
        np.arange(len(data.labels)), train_size=size, stratify=data.labels, random_state=seed
    )
    labels, truth = data.labels[train].tolist(), data.labels[test].tolist()
    kinds = {
        "none": data.activations.take(train, slice(0, 0)),
        "flips": data.activations.take(train, slice(0, FLIPS)),
        "crops": data.activations.take(train, slice(FLIPS, FLIPS + CROPS)),
    }

    def views_of(views: ViewSet) -> Stored:
        return kinds[views.kind]

    accuracy, seconds, chosen, kept = {}, {}, "", Kept()
    for way, settings in WAYS.items():
        epochs = run.size(settings.max_epochs, 2)
        settings = adapters.FineTune("tail", epochs, views=settings.views, flips=settings.flips)
        spec = adapters.HeadSpec(seed=seed, fine_tune=settings)
        embeddings = data.embeddings[train]
        began = time.perf_counter()
        plain = adapters.fit(embeddings, labels, spec, fingerprint="frozen")
        plain = adapters.diagnose(plain, embeddings, labels)
        base_seconds = time.perf_counter() - began
        tuned = tune(
            data.tail,
            kinds["flips" if settings.flips else "none"],
            labels,
            spec,
            base=plain,
            embeddings=embeddings,
            name=lambda tensors: "tuned",
            clock=time.perf_counter,
            checkpoints=kept,
            base_seconds=base_seconds,
            views_of=views_of,
        )
        changed = {} if tuned.tail is None else tuned.tail.tensors
        (features,) = data.embed(changed, test, views=0)
        accuracy[way] = adapters.evaluate(tuned.fitted.head, features, truth).estimate.accuracy
        report = tuned.fitted.report.fine_tuning
        assert report is not None
        seconds[way] = report.seconds_with
        chosen = report.views if way == "chosen" else chosen
    return Outcome(accuracy, seconds, chosen)


def _table(name: str, found: list[Outcome], size: int) -> Table:
    by_way = {way: np.array([one.accuracy[way] for one in found]) for way in WAYS}
    better = max(("none", "flips"), key=lambda way: float(by_way[way].mean()))
    times = [one.seconds["chosen"] / one.seconds.get(one.views, np.nan) for one in found]
    picks = [one.views for one in found]
    row = (
        f"{size:,}",
        *(percent(by_way[way].mean()) for way in WAYS),
        points(by_way["chosen"] - by_way[better]),
        ", ".join(f"{kind} {picks.count(kind)}" for kind in dict.fromkeys(picks)),
        f"{np.nanmean(times):.2f}",
    )
    columns = (
        *("examples", "default", "`--tune-views 0`", "`--flips`"),
        *("default beside the better, points", "views chosen", "times the time"),
    )
    return Table(
        f"Which views a tail is tuned on: {name}, `{BACKBONE}`",
        columns,
        [row],
        f"Held-out accuracy, means over {len(found)} seeded splits, {HELD_OUT} held-out examples; "
        "the difference is paired, with its standard error. Times beside a tuning on the chosen "
        "views alone, without activations.",
    )
