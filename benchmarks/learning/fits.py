"""How long a training takes: fit, estimate, choice of strength and calibration."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import adapters
from benchmarks.learning import baseline
from benchmarks.learning.data import DATA, Embedded, embedded
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, geometric_mean, verdict

EXAMPLES, ROUNDS = 1000, 9
WANTED = {"ridge": 10.0, "auto": 4.0}

Seconds = dict[str, list[float]]


def measure(run: Run) -> list[Table]:
    """Let the contenders take turns on the same examples."""
    rounds, size = run.size(ROUNDS, 1), run.size(EXAMPLES, 100)
    seconds: dict[str, Seconds] = {}
    with run.steps("fits", len(DATA) * rounds) as done:
        for name in DATA:
            data = embedded(name, run.cache)
            taken: Seconds = {contender: [] for contender in (baseline.NAME, *WANTED)}
            for seed in range(rounds):
                for contender, elapsed in _round(data, size, seed).items():
                    taken[contender].append(elapsed)
                done()
            seconds[name] = taken
    return [_times(seconds, rounds, size), _means(seconds)]


def _round(data: Embedded, size: int, seed: int) -> dict[str, float]:
    rows, _ = data.split(size, seed)
    embeddings, labels = data.take(rows)

    def ours(family: str) -> Callable[[], object]:
        spec = adapters.HeadSpec(family, seed=seed)
        return lambda: adapters.fit(embeddings, labels, spec, fingerprint="benchmark")

    contenders: list[tuple[str, Callable[[], object]]] = [
        (baseline.NAME, lambda: baseline.fit(embeddings, labels)),
        *((family, ours(family)) for family in WANTED),
    ]
    turn = seed % len(contenders)
    return {name: _elapsed(fit) for name, fit in contenders[turn:] + contenders[:turn]}


def _elapsed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _ratios(taken: Seconds, family: str) -> list[float]:
    pairs = zip(taken[baseline.NAME], taken[family], strict=True)
    return [theirs / ours for theirs, ours in pairs]


def _times(seconds: dict[str, Seconds], rounds: int, size: int) -> Table:
    rows = []
    for name, taken in seconds.items():
        row = [name, f"{median(taken[baseline.NAME]):.2f} s"]
        for family in WANTED:
            ratio = median(_ratios(taken, family))
            row += [f"{median(taken[family]):.2f} s", f"{ratio:.1f}"]
        rows.append(tuple(row))
    families = [column for family in WANTED for column in (f"`{family}`", "times faster")]
    return Table(
        f"Training time at {size:,} examples",
        ("data set", f"`{baseline.NAME}`", *families),
        rows,
        f"Fit, estimate, choice of strength and calibration. Medians of {rounds} rounds in which "
        "the contenders took turns; ratios of the same round.",
    )


def _means(seconds: dict[str, Seconds]) -> Table:
    rows = []
    for family, wanted in WANTED.items():
        ratios = [median(_ratios(taken, family)) for taken in seconds.values()]
        mean, least = geometric_mean(ratios), min(ratios)
        met = verdict(mean >= wanted and least >= 1)
        rows.append((f"`{family}`", f"{mean:.1f}", f"≥ {wanted:g}", f"{least:.1f}", "≥ 1", met))
    columns = ("family", "geometric mean", "wanted", "least", "wanted", "met")
    return Table("Training time, all data sets", columns, rows)
