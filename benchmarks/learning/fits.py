"""How long a training takes: fit, estimate, choice of strength and calibration."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median

from threadpoolctl import threadpool_limits

import adapters
from benchmarks.learning import baseline
from benchmarks.learning.data import DATA, Embedded, embedded
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, geometric_mean, yes_or_no

EXAMPLES, ROUNDS = 1000, 7
WANTED = {"ridge": 10.0, "auto": 4.0}

MEANS = ("family", "threads", "geometric mean", "wanted", "least", "wanted", "met")

Seconds = dict[str, list[float]]


def measure(run: Run) -> list[Table]:
    """Time the candidates in turn on the same examples, with one thread each and with all."""
    rounds, size = run.size(ROUNDS, 1), run.size(EXAMPLES, 100)
    tables: list[Table] = []
    means: list[tuple[str, ...]] = []
    for threads in dict.fromkeys((1, os.cpu_count() or 1)):
        with threadpool_limits(threads):
            seconds = _seconds(run, rounds, size, threads)
        tables.append(_times(seconds, rounds, size, threads))
        means += _means(seconds, threads)
    return [*tables, Table("Training time, all data sets", MEANS, means)]


def _seconds(run: Run, rounds: int, size: int, threads: int) -> dict[str, Seconds]:
    seconds: dict[str, Seconds] = {}
    with run.steps(f"fits, {_counted(threads)}", len(DATA) * rounds) as done:
        for name in DATA:
            data = embedded(name, run.cache)
            taken: Seconds = {candidate: [] for candidate in (baseline.NAME, *WANTED)}
            for seed in range(rounds):
                for candidate, elapsed in _round(data, size, seed).items():
                    taken[candidate].append(elapsed)
                done()
            seconds[name] = taken
    return seconds


def _round(data: Embedded, size: int, seed: int) -> dict[str, float]:
    rows, _ = data.split(size, seed)
    embeddings, labels = data.take(rows)

    def ours(family: str) -> Callable[[], object]:
        spec = adapters.HeadSpec(family, seed=seed)
        return lambda: adapters.fit(embeddings, labels, spec, fingerprint="benchmark")

    candidates: list[tuple[str, Callable[[], object]]] = [
        (baseline.NAME, lambda: baseline.fit(embeddings, labels)),
        *((family, ours(family)) for family in WANTED),
    ]
    first = seed % len(candidates)
    return {name: _elapsed(fit) for name, fit in candidates[first:] + candidates[:first]}


def _elapsed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _ratios(taken: Seconds, family: str) -> list[float]:
    pairs = zip(taken[baseline.NAME], taken[family], strict=True)
    return [theirs / ours for theirs, ours in pairs]


def _times(seconds: dict[str, Seconds], rounds: int, size: int, threads: int) -> Table:
    rows = []
    for name, taken in seconds.items():
        row = [name, f"{median(taken[baseline.NAME]):.2f} s"]
        for family in WANTED:
            ratio = median(_ratios(taken, family))
            row += [f"{median(taken[family]):.2f} s", f"{ratio:.1f}"]
        rows.append(tuple(row))
    families = [column for family in WANTED for column in (f"`{family}`", "times faster")]
    return Table(
        f"Training time at {size:,} examples, {_counted(threads)} for all contenders",
        ("data set", f"`{baseline.NAME}`", *families),
        rows,
        f"Fit, estimate, choice of strength and calibration. Medians of {rounds} rounds in which "
        "the contenders took turns; ratios of the same round.",
    )


def _means(seconds: dict[str, Seconds], threads: int) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for family, wanted in WANTED.items():
        ratios = [median(_ratios(taken, family)) for taken in seconds.values()]
        mean, least = geometric_mean(ratios), min(ratios)
        met = yes_or_no(mean >= wanted and least >= 1)
        figures = f"{mean:.1f}", f"≥ {wanted:g}", f"{least:.1f}", "≥ 1", met
        rows.append((f"`{family}`", _counted(threads), *figures))
    return rows


def _counted(threads: int) -> str:
    return "one thread" if threads == 1 else f"{threads} threads"
