"""How good what is recommended is on held-out data, beside the best of its options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from adapters.advice import Advisor
from benchmarks.advice.data import DATA, load
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, mean_error, percent, points, yes_or_no

SIZES = (200, 500, 1200)
TOLERANCE = 0.01
"""What the recommended option may be below the best one."""


@dataclass(frozen=True)
class Split:
    """A seeded split of a data set: so many examples to be advised on, the others to test it."""

    cache: Path
    data: str
    size: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What was advised on a split, and how accurate each option is on the rest."""

    split: Split
    verdict: str
    recommended: str
    estimates: dict[str, float]
    accuracies: dict[str, float]

    @property
    def regret(self) -> float:
        """What the recommended option is below the best one of this split."""
        return max(self.accuracies.values()) - self.accuracies[self.recommended]


def measure(run: Run) -> list[Table]:
    """Advise on every split, and compare with held-out data."""
    sizes = SIZES[:1] if run.quick else SIZES
    splits = [
        Split(run.cache, name, size, seed)
        for name in DATA
        for size in sizes
        for seed in range(run.size(run.splits, 2))
    ]
    splits.sort(key=lambda split: -split.size)
    outcomes = run.in_processes("advice", advise, splits)
    by_cell: dict[tuple[str, int], list[Outcome]] = {
        (name, size): [] for name in DATA for size in sizes
    }
    for outcome in outcomes:
        by_cell[outcome.split.data, outcome.split.size].append(outcome)
    return [_table(by_cell)]


def advise(split: Split) -> Outcome:
    """Advise on a part of a data set, and measure all options on the rest."""
    data = load(split.data, split.cache)
    rows, rest = train_test_split(
        np.arange(len(data.labels)),
        train_size=split.size,
        stratify=data.labels,
        random_state=split.seed,
    )
    labels = data.labels[rows].tolist()
    embeddings = {data.backbone: data.embeddings[rows]}
    advisor = Advisor(embeddings, data.inputs(rows), labels, split.seed)
    for option in advisor.options:
        advisor.evaluate(option)
    advice = advisor.conclude()
    names = np.unique(labels)
    accuracies = {}
    for option in advisor.options:
        answers = advisor.learner(option).predict(data.option_inputs(option, rest))
        accuracies[option] = float(np.mean(names[answers] == data.labels[rest]))
    estimates = {option.name: option.estimate.accuracy for option in advice.options}
    return Outcome(split, advice.verdict, advice.recommended, estimates, accuracies)


def _table(by_cell: dict[tuple[str, int], list[Outcome]]) -> Table:
    rows = []
    for (name, size), outcomes in by_cell.items():
        options = list(outcomes[0].accuracies)
        means = {
            option: float(np.mean([outcome.accuracies[option] for outcome in outcomes]))
            for option in options
        }
        best = max(means, key=lambda option: means[option])
        below = [o.accuracies[best] - o.accuracies[o.recommended] for o in outcomes]
        mean, error = mean_error(below)
        claimed = [o.estimates[o.recommended] - o.accuracies[o.recommended] for o in outcomes]
        head = next(option for option in options if option not in ("majority", "direct"))
        rows.append(
            (
                name,
                f"{size:,}",
                *(percent(means[option]) for option in ("majority", "direct", head)),
                _counted([outcome.recommended for outcome in outcomes], head),
                _counted([outcome.verdict for outcome in outcomes], head),
                points(claimed),
                f"{100 * mean:.2f} ± {100 * error:.2f}",
                f"{100 * max(outcome.regret for outcome in outcomes):.1f}",
                yes_or_no(mean <= TOLERANCE),
            )
        )
    splits = len(next(iter(by_cell.values())))
    return Table(
        "Advice against held-out data",
        (
            "data set",
            "examples",
            "majority",
            "direct",
            "head",
            "recommended",
            "verdict",
            "estimate minus held-out, points",
            "below the best, points",
            "worst split",
            "met",
        ),
        rows,
        f"Means over {splits} seeded splits; all else of 2,000 examples (1,797 digits) is held "
        "out. "
        "Estimate and held-out accuracy are those of the recommended option. "
        "Below the best: what the recommended option is below the one that is best on average. "
        f"Worst split: below the best option of that split. Wanted: at most {100 * TOLERANCE:g} "
        "point on average.",
    )


def _counted(words: Sequence[str], head: str) -> str:
    """Say how often each word comes, the most frequent one first."""
    counts = Counter("head" if word == head else word for word in words)
    return ", ".join(f"{word} {count}" for word, count in counts.most_common())
