"""Selection of a family, and of a way to use views, on the same folds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from adapters.augmentation import AS_EXAMPLES, AVERAGE, NONE, arrange
from adapters.estimate import ValidationResult
from adapters.examples import Examples, Views
from adapters.families import Family
from adapters.families.base import Fit, Start, Strength
from adapters.families.logistic import Logistic
from adapters.fronts import Front
from adapters.head import Head
from adapters.optimism import MOST_GROUPS, optimism
from adapters.problem import Problem
from adapters.progress import Progress, ignore_progress
from adapters.report import AugmentationReport, Estimate
from adapters.spec import HeadSpec

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FittedFamily:
    """A family fitted to the examples, at the strength it chose.

    `optimism` is by how much choosing makes the accuracy on these examples too high, as a share.
    """

    family: Family
    front: Front
    used: str
    problem: Problem
    fit: Fit
    l2: float | None
    optimism: float

    @cached_property
    def comparison(self) -> Estimate:
        """The estimate on the folds that all candidates share."""
        return self._validate(self.problem.comparison).estimate

    def conclude(self) -> ValidationResult:
        """Return what the folds of the estimate give."""
        return self._validate(self.problem.folds)

    def head(
        self,
        labels: tuple[str, ...],
        fingerprint: str,
        temperature: float,
        class_weights: Mapping[str, float],
    ) -> Head:
        """Return the head that is fitted to all examples."""
        weight, bias = self.front.fold(*self.fit.solve(self.l2))
        return Head(
            family=self.family.name,
            labels=labels,
            weight=weight.astype(np.float32),
            bias=bias.astype(np.float32),
            fingerprint=fingerprint,
            temperature=temperature,
            l2=self.l2,
            front=self.front,
            class_weights=class_weights,
        )

    def _validate(self, folds: NDArray[np.intp]) -> ValidationResult:
        problem, count = self.problem, int(folds.max()) + 1
        logits = self.fit.held_out(self.l2, folds)
        logits[~problem.held] = np.nan
        targets, groups = problem.example_targets, problem.example_groups
        return ValidationResult.of(logits, targets, count, groups, optimism=self.optimism)


def lowest(fitted: Sequence[FittedFamily]) -> FittedFamily:
    """Return the one with the lowest log-loss on the folds that all share.

    What having been chosen among all of them adds to its optimism is added.
    """
    if len(fitted) == 1:
        return fitted[0]
    chosen = min(fitted, key=lambda one: one.comparison.log_loss)
    problem, some = chosen.problem, chosen.problem.scored
    if problem.group_count > MOST_GROUPS:
        return chosen
    logits = [one.fit.held_out(one.l2, one.problem.comparison)[some] for one in fitted]
    targets, groups = problem.example_targets[some], problem.example_groups[some]
    more = optimism(np.stack(logits), targets, groups, problem.seed)
    return replace(chosen, optimism=chosen.optimism + more)


@dataclass(frozen=True, eq=False)
class ModelSelection:
    """What the candidates share.

    Attributes:
        examples: the examples.
        weights: what each counts, class weights included; shape (n,).
        spec: what to train.
        views: of the examples, or None.
        start: a similar head, where iterations start, or None.
    """

    examples: Examples
    weights: Array
    spec: HeadSpec
    views: Views | None
    start: Head | None
    _problems: dict[tuple[str, bool], tuple[Front, Problem]] = field(default_factory=dict)

    def fit(
        self,
        family: Family,
        used: str,
        report_share: Callable[[float], None],
        rival: float = math.inf,
    ) -> FittedFamily:
        """Fit a family to the examples, with views used in one of the three ways."""
        front, problem = self._problem(used, family.unit)
        fit = family.begin(problem, self._start_behind(front))
        strength = Strength(self.spec.l2 if family.has_l2 else None)
        if family.has_l2 and self.spec.l2 is None:
            strength = fit.choose(report_share, rival)
        return FittedFamily(family, front, used, problem, fit, strength.l2, strength.optimism)

    def fit_all(
        self, families: Sequence[Family], progress: Progress = ignore_progress
    ) -> list[FittedFamily]:
        """Fit families without views, each told the lowest log-loss of those before it."""
        fitted: list[FittedFamily] = []
        for index, family in enumerate(families):

            def report_share(done: float, name: str = family.name, index: int = index) -> None:
                progress((index + done) / len(families), f"fitting {name}")

            report_share(0.0)
            rival = min((one.comparison.log_loss for one in fitted), default=math.inf)
            fitted.append(self.fit(family, NONE, report_share, rival))
        return fitted

    def augment(self, plain: FittedFamily, views: Views) -> tuple[FittedFamily, AugmentationReport]:
        """Return the family with views used as it does best, and what they brought."""
        found = [plain]
        for used in (AS_EXAMPLES, AVERAGE):
            found.append(self.fit(plain.family, used, lambda share: None))
        chosen = lowest(found)
        without, as_examples, averaged = (candidate.comparison for candidate in found)
        per_example = np.bincount(views.rows, minlength=1)
        report = AugmentationReport(
            views=int(per_example.max()),
            used=chosen.used,
            augmented_examples=int(np.count_nonzero(per_example)),
            without=without,
            as_examples=as_examples,
            averaged=averaged,
        )
        return chosen, report

    def _problem(self, used: str, unit: bool) -> tuple[Front, Problem]:
        """Return front and problem, each computed once."""
        if (used, unit) not in self._problems:
            spec, examples = self.spec, self.examples
            rows, weights = examples.embeddings, examples.weights
            front = Front.of(spec.front, rows, weights, spec.seed, unit=unit)
            problem = arrange(used, examples, self.weights, self.views, front, spec.seed)
            self._problems[used, unit] = front, problem
        return self._problems[used, unit]

    def _start_behind(self, front: Front) -> Start | None:
        """Return the head to start from, for features of this front, if its own is like it."""
        head = self.start
        if head is None or head.front is None or not front.resembles(head.front):
            return None
        if head.family != Logistic().name:
            return None
        known = {label: row for row, label in enumerate(head.labels)}
        rows = [known.get(label, len(known)) for label in self.examples.labels]
        # Classes that the head does not know start unlikely.
        weight = np.vstack([head.weight, np.zeros(head.weight.shape[1])])[rows]
        bias = np.append(head.bias, head.bias.min())[rows]
        return Start(*front.unfold(weight, bias))
