"""Selection of a family, and of a way to use views, on the same folds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from adapters.augmentation import AS_EXAMPLES, AVERAGE, NONE, arrange
from adapters.calibration import fit_temperature
from adapters.estimate import estimate
from adapters.examples import Examples, Views
from adapters.families import Family
from adapters.families.base import Fit, Start, Strength, cross_validation
from adapters.families.logistic import Logistic
from adapters.fronts import Front
from adapters.head import Head
from adapters.optimism import MOST_GROUPS, optimism
from adapters.problem import Problem
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

    def compare(self) -> Estimate:
        """Return the estimate on the folds that all candidates share."""
        return self._validate(self.problem.comparison)[2]

    def conclude(self) -> tuple[Array, float, Estimate]:
        """Return held-out logits (n, classes), the temperature and the estimate they give.

        Rows of examples that are never held out are nan.
        """
        return self._validate(self.problem.folds)

    def chosen_among(self, candidates: Sequence[FittedFamily]) -> FittedFamily:
        """Return this one with what having been chosen among all of them adds to its optimism."""
        problem = self.problem
        some = problem.scored
        if len(candidates) == 1 or problem.group_count > MOST_GROUPS:
            return self
        logits = [one.fit.held_out(one.l2, one.problem.comparison)[some] for one in candidates]
        targets, groups = problem.example_targets[some], problem.example_groups[some]
        more = optimism(np.stack(logits), targets, groups, problem.seed)
        return replace(self, optimism=self.optimism + more)

    def _validate(self, folds: NDArray[np.intp]) -> tuple[Array, float, Estimate]:
        problem = self.problem
        logits = self.fit.held_out(self.l2, folds)
        logits[~problem.held] = np.nan
        some, targets = logits[problem.scored], problem.example_targets[problem.scored]
        groups = problem.example_groups[problem.scored]
        temperature = fit_temperature(some, targets)
        method = cross_validation(int(folds.max()) + 1, problem.n, problem.group_count)
        guess = estimate(some, targets, temperature, method, groups, self.optimism)
        return logits, temperature, guess


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

    def augment(self, plain: FittedFamily, views: Views) -> tuple[FittedFamily, AugmentationReport]:
        """Return the family with views used as it does best, and what they brought."""
        found = {NONE: (plain, plain.compare())}
        for used in (AS_EXAMPLES, AVERAGE):
            candidate = self.fit(plain.family, used, lambda share: None)
            found[used] = candidate, candidate.compare()
        used = min(found, key=lambda name: found[name][1].log_loss)
        chosen = found[used][0].chosen_among([candidate for candidate, _ in found.values()])
        without, as_examples, averaged = (guess for _, guess in found.values())
        per_example = np.bincount(views.rows, minlength=1)
        report = AugmentationReport(
            views=int(per_example.max()),
            used=used,
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
            front = Front.of(spec.front, examples.embeddings, examples.weights, spec.seed)
            front = replace(front, unit=unit)
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
