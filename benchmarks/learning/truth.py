"""Whether what a head says about itself holds on data it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import adapters
from adapters.diagnostics import diagnose
from adapters.novelty import NoveltyBank
from adapters.spec import NoveltySpec
from benchmarks.learning.data import DATA, embedded
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, mean_error, percent, points, yes_or_no

FEW = 200
LEVEL, BINS = 0.9, 10
MOST_BIAS, MOST_ECE, MOST_GAP = 0.01, 0.05, 0.01
NOVEL = ("textile", "digits")
FALSE_ALARMS = 0.05

_EDGE = 1e-9  # a bias of a point is no more than a point, however it is rounded


@dataclass(frozen=True)
class Trial:
    """A training on one seeded split."""

    cache: Path
    data: str
    size: int
    seed: int
    family: str = "auto"


@dataclass(frozen=True, eq=False)
class Truth:
    """What a head claimed, and what was true.

    Attributes:
        estimate: its estimated accuracy.
        accuracy: its accuracy on the examples that were left out.
        confidence: the probability of each one's predicted class; shape (n,).
        right: whether that was the right class; shape (n,).
        covered: share of conformal sets that held the right class; nan if there were none.
        set_size: mean number of classes in them.
    """

    estimate: float
    accuracy: float
    confidence: NDArray[np.float32]
    right: NDArray[np.bool_]
    covered: float = float("nan")
    set_size: float = float("nan")


def measure(run: Run) -> list[Table]:
    """Compare claims with held-out data, and recognise inputs of a class that was left out."""
    cells = [
        (name, size) for name in DATA for size in run_sizes(run, embedded(name, run.cache).all)
    ]
    seeds = range(run.size(run.splits, 2))
    trials = [Trial(run.cache, name, size, seed) for name, size in cells for seed in seeds]
    trials.sort(key=lambda trial: -trial.size)
    results = run.in_processes("honesty", _diagnosed, trials)
    truths: dict[tuple[str, int], list[Truth]] = {cell: [] for cell in cells}
    for trial, result in zip(trials, results, strict=True):
        truths[trial.data, trial.size].append(result)
    # The same splits with one class missing: each in turn.
    absent = [Trial(run.cache, name, 0, seed, "ridge") for name in NOVEL for seed in seeds]
    novelty = run.in_processes("novelty", _novelty, absent)
    return [_honesty(truths), _probabilities(truths), _novelty_table(absent, novelty)]


def run_sizes(run: Run, everything: int) -> tuple[int, ...]:
    """Return the sizes of the trainings that are measured."""
    return (FEW,) if run.quick else (FEW, everything)


def measure_trial(trial: Trial) -> Truth:
    """Train on a split and compare the estimate with the held-out accuracy."""
    return _truth(trial, diagnosed=False)


def _diagnosed(trial: Trial) -> Truth:
    return _truth(trial, diagnosed=True)


def _truth(trial: Trial, *, diagnosed: bool) -> Truth:
    data = embedded(trial.data, trial.cache)
    train, test = data.split(trial.size, trial.seed)
    embeddings, labels = data.take(train)
    spec = adapters.HeadSpec(trial.family, seed=trial.seed)
    fitted = adapters.fit(embeddings, labels, spec, fingerprint="benchmark")
    if diagnosed:
        fitted = diagnose(fitted, embeddings, labels)
    head, estimate = fitted.head, fitted.report.estimate
    assert estimate is not None
    fresh, truth = data.take(test)
    probabilities, targets = head.probabilities(fresh), head.class_indices(truth)
    right = probabilities.argmax(axis=1) == targets
    confidence = probabilities.max(axis=1)
    if head.conformal is None:
        return Truth(estimate.accuracy, float(right.mean()), confidence, right)
    sets = head.conformal.sets(head.logits(fresh), LEVEL)
    covered = float(sets[np.arange(len(targets)), targets].mean())
    size = float(sets.sum(axis=1).mean())
    return Truth(estimate.accuracy, float(right.mean()), confidence, right, covered, size)


def _novelty(trial: Trial) -> tuple[float, float]:
    """Return the false alarms on known classes, and the AUROC against one that was left out."""
    data = embedded(trial.data, trial.cache)
    labels = np.unique(data.labels)
    absent = labels[trial.seed % len(labels)]
    train, test = data.split(data.all, trial.seed)
    known = train[data.labels[train] != absent]
    targets = np.unique(data.labels[known], return_inverse=True)[1]
    spec = NoveltySpec(FALSE_ALARMS)
    bank = NoveltyBank.of(data.embeddings[known], targets, spec, trial.seed)
    assert bank is not None
    scores = bank.scores(data.embeddings[test])
    novel = data.labels[test] == absent
    return float(np.mean(scores[~novel] > 1)), float(roc_auc_score(novel, scores))


def calibration_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over 10 bins of equal mass."""
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, BINS)
    gaps = [abs(confidence[rows].mean() - right[rows].mean()) * len(rows) for rows in bins]
    return float(sum(gaps) / len(order))


def _honesty(truths: dict[tuple[str, int], list[Truth]]) -> Table:
    rows = []
    for (name, size), found in truths.items():
        guess = np.array([truth.estimate for truth in found])
        fact = np.array([truth.accuracy for truth in found])
        met = yes_or_no(abs(float(np.mean(guess - fact))) <= MOST_BIAS + _EDGE)
        shares = (percent(guess.mean()), percent(fact.mean()))
        rows.append((name, f"{size:,}", *shares, points(guess - fact), met))
    return Table(
        "Estimated and held-out accuracy of `auto`",
        ("data set", "examples", "estimate", "held-out", "estimate minus held-out, points", "met"),
        rows,
        f"Means over {len(found)} seeded splits. Wanted: at most 1 point either way.",
    )


def _probabilities(truths: dict[tuple[str, int], list[Truth]]) -> Table:
    rows = []
    for (name, size), found in truths.items():
        confidence = np.concatenate([truth.confidence for truth in found])
        error = calibration_error(confidence, np.concatenate([truth.right for truth in found]))
        covered = [truth.covered for truth in found]
        mean, spread = mean_error(covered)
        met = error <= MOST_ECE and abs(mean - LEVEL) <= MOST_GAP + _EDGE
        coverage = f"{100 * mean:.1f} ± {100 * spread:.1f} %"
        width = f"{np.mean([truth.set_size for truth in found]):.2f}"
        rows.append((name, f"{size:,}", f"{error:.3f}", coverage, width, yes_or_no(met)))
    return Table(
        "Probabilities and conformal sets of `auto` on held-out data",
        ("data set", "examples", "calibration error", "coverage at 90 %", "classes a set", "met"),
        rows,
        f"Expected calibration error over 10 bins of equal mass, pooled over {len(found)} splits; "
        "wanted: at most 0.05. Coverage: mean over the splits; wanted: within 1 point of 90 %.",
    )


def _novelty_table(trials: list[Trial], found: list[tuple[float, float]]) -> Table:
    rows = []
    for name in NOVEL:
        pairs = [pair for trial, pair in zip(trials, found, strict=True) if trial.data == name]
        alarms, areas = zip(*pairs, strict=True)
        mean, error = mean_error(alarms)
        area, spread = mean_error(areas)
        share = f"{100 * mean:.1f} ± {100 * error:.1f} %"
        rows.append((name, share, f"{area:.3f} ± {spread:.3f}"))
    return Table(
        "Novelty with one class left out",
        ("data set", "false alarms", "AUROC"),
        rows,
        f"Means over {len(pairs)} seeded splits, each without another class by turns; the "
        "threshold is set for 5 % false alarms.",
    )
