"""Validation of a head on features that come from another tail in every fold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.special
from numpy.typing import NDArray

from adapters.augmentation import NONE, arrange
from adapters.diagnostics import add_evaluation, conformal_of, novelty_report
from adapters.estimate import ValidationResult, estimate
from adapters.examples import Examples, Views
from adapters.families import REGISTRY, Fit
from adapters.families.base import MIN_GAIN, Strength, choose_strength
from adapters.fronts import Front
from adapters.novelty import MIN_THRESHOLD, NoveltyBank
from adapters.problem import Problem
from adapters.report import Estimate
from adapters.spec import HeadSpec
from adapters.training import Fitted, choose_views

Float = NDArray[np.float64]
Features = NDArray[np.float32]
Folds = NDArray[np.intp]
Indices = NDArray[np.intp]

SURE = 1.645
"""Standard errors by which a tail must be better: by luck alone, one in twenty is."""

STRENGTHS = np.logspace(2, -4, 13)
"""Strengths to choose from, from strong to weak, in units of each problem's mean spectrum. Classes
of examples that a tail was tuned on lie further apart than others', so strong ones may be best."""


def validate_base(
    base: Fitted,
    examples: Examples,
    weights: Float,
    views: Views | None,
    folds: Folds,
) -> ValidationResult:
    """Validate the head without a tail on the same folds: its family, strength, front and views."""
    head, report = base.head, base.report
    assert head.front is not None
    used = NONE if report.augmentation is None else report.augmentation.used
    chosen = None if used == NONE else choose_views(report.spec, examples, views)
    problem = arrange(used, examples, weights, chosen, head.front, report.spec.seed)
    fit = REGISTRY[head.family].begin(problem)
    logits = fit.held_out(head.l2, folds[problem.owners])
    logits[folds < 0] = np.nan
    return ValidationResult.of(logits, examples.targets, int(folds.max()) + 1, examples.groups)


@dataclass(frozen=True, eq=False)
class _Part:
    """A family fitted to one set of features."""

    front: Front
    problem: Problem
    fit: Fit

    def logits(self, l2: float | None, features: Features) -> Float:
        """Score features (m, dim) with the head of that strength."""
        weight, bias = self.fit.solve(l2)
        logits: Float = self.front.features(features) @ weight.T + bias
        return logits


@dataclass(frozen=True, eq=False)
class Gain:
    """What a tail gains on the folds.

    It is used if the log-loss of held-out examples is lower than without it by `MIN_GAIN` of that
    and by `SURE` standard errors of the examples' paired differences, and accuracy is not lower.

    Attributes:
        without: the result on the head without it.
        result: on the head with it.
        error: standard error of the difference of their log-losses.
        strength: of that head's penalty, as `Validator` measures it.
        features: of all examples, (n, dim), by each fold's tail.
        parts: the family fitted to each fold's features.
    """

    without: ValidationResult
    result: ValidationResult
    error: float
    strength: float | None
    features: Sequence[Features]
    parts: Sequence[_Part]

    @property
    def used(self) -> bool:
        """Whether the tail is good enough."""
        ours, theirs = self.result.estimate, self.without.estimate
        gain = theirs.log_loss - ours.log_loss
        return gain >= self._least and ours.accuracy >= theirs.accuracy

    @property
    def reason(self) -> str:
        """Why it is used or not, in words."""
        ours, theirs = self.result.estimate, self.without.estimate
        found = (
            f"log-loss {ours.log_loss:.4f} with the tail and {theirs.log_loss:.4f} without, "
            f"accuracy {ours.accuracy:.1%} and {theirs.accuracy:.1%}"
        )
        if self.used:
            return found
        if theirs.log_loss - ours.log_loss >= self._least:
            return f"{found}: accuracy must not be lower"
        return f"{found}: the log-loss must be lower by {self._least:.4f}, or it may be chance"

    @property
    def _least(self) -> float:
        return max(MIN_GAIN * self.without.estimate.log_loss, SURE * self.error)


def standard_error(differences: Float, groups: Indices) -> float:
    """Return the standard error of the mean of differences (n,); infinite for a single one.

    Groups go together: sums over them take the place of examples (Liang and Zeger 1986, Biometrika
    73:13).
    """
    n = len(differences)
    if n < 2:
        return math.inf
    own = np.unique(groups, return_inverse=True)[1]
    several = int(own.max()) + 1
    if several == n:
        return float(differences.std(ddof=1) / np.sqrt(n))
    sums = np.bincount(own, differences - differences.mean())
    return float(np.sqrt((sums**2).sum() * several / max(1, several - 1)) / n)


@dataclass(frozen=True, eq=False)
class Validator:
    """Fits one family to features and validates it on folds.

    Strengths are in units of each problem's mean spectrum, so that one holds for any number of
    examples; the spec's own strength is taken as it is.

    Attributes:
        family: name of the family.
        examples: labels and their order; the embeddings are not used.
        weights: what each counts, class weights included; shape (n,).
        folds: the fold of each example, -1 for those that are never held out; shape (n,).
        spec: front, seed and, perhaps, strength.
    """

    family: str
    examples: Examples
    weights: Float
    folds: Folds
    spec: HeadSpec

    def compare(self, without: ValidationResult, features: Sequence[Features]) -> Gain:
        """Validate a head on features by each fold's tail, at the strength that is best there.

        The strength is chosen as families choose theirs, by the calibrated log-loss of held-out
        examples.

        Args:
            without: the result on the head without a tail.
            features: of shape (n, dim), one for each fold, by a tail that has not seen it.
        """
        n, count = len(self.folds), len(features)
        rests = [self.folds != fold for fold in range(count)]
        groups = self.examples.groups
        parts = [self._part(rows[rest], rest) for rows, rest in zip(features, rests, strict=True)]

        def held_out(strength: float | None) -> Float:
            logits = np.full((n, len(self.examples.labels)), np.nan)
            for part, rows, rest in zip(parts, features, rests, strict=True):
                logits[~rest] = part.logits(self._l2(part, strength), rows[~rest])
            return logits

        strength = Strength(None)
        if self._chosen:
            whole = self._problem(np.zeros((n, 1)), np.ones(n, dtype=bool))
            strength = choose_strength(
                STRENGTHS,
                lambda some: np.stack(
                    [held_out(float(one))[whole.validation_sample] for one in some]
                ),
                whole,
                lambda share: None,
            )
        targets = self.examples.targets
        result = ValidationResult.of(
            held_out(strength.l2), targets, count, groups, optimism=strength.optimism
        )
        differences = result.losses(targets) - without.losses(targets)
        scored = ~np.isnan(differences)
        error = standard_error(differences[scored], groups[scored])
        return Gain(without, result, error, strength.l2, features, parts)

    def average(self, gain: Gain, views: Sequence[Features]) -> Estimate:
        """Estimate predictions that average probabilities over an example and its views.

        Args:
            gain: what `compare` returned.
            views: of each fold's held-out examples by its tail, of shape (views, m, dim).
        """
        probabilities = np.full_like(gain.result.logits, np.nan)
        for fold, (part, rows, own) in enumerate(
            zip(gain.parts, views, gain.features, strict=True)
        ):
            held = self.folds == fold
            l2 = self._l2(part, gain.strength)
            scored = np.stack([part.logits(l2, some) for some in (own[held], *rows)])
            found = scipy.special.softmax(scored / gain.result.temperature, axis=2)
            probabilities[held] = found.mean(axis=0)
        known = np.flatnonzero(self.folds >= 0)
        logits = np.log(np.maximum(probabilities[known], np.finfo(np.float64).tiny))
        targets, groups = self.examples.targets[known], self.examples.groups[known]
        return estimate(logits, targets, 1.0, gain.result.estimate.method, groups)

    def fit(self, base: Fitted, gain: Gain, features: Features, fingerprint: str) -> Fitted:
        """Fit the head on a tail that was tuned on all examples, and say how good it is.

        Args:
            base: the head without the tail.
            gain: on the folds; the head's calibration and its estimate come from there.
            features: of all examples by the tail, in the caller's order; shape (n, dim).
            fingerprint: of these features.
        """
        examples, result = self.examples, gain.result
        rows = features[examples.order]
        part = self._part(rows, np.ones(len(rows), dtype=bool))
        l2 = self._l2(part, gain.strength)
        weight, bias = part.front.fold(*part.fit.solve(l2))
        bank = self._novelty(gain.features, rows)
        head = replace(
            base.head,
            weight=weight.astype(np.float32),
            bias=bias.astype(np.float32),
            fingerprint=fingerprint,
            temperature=result.temperature,
            l2=l2,
            front=part.front,
            novelty=bank,
            conformal=conformal_of(examples, result.logits, result.temperature),
        )
        report = replace(
            base.report,
            fingerprint=fingerprint,
            estimate=result.estimate,
            l2=l2,
            temperature=result.temperature,
            learning_curve=(),  # every point would take a tuning of its own
            augmentation=None,
            novelty=novelty_report(bank),
        )
        held_out = np.empty_like(result.logits)
        held_out[examples.order] = result.logits
        report = add_evaluation(report, examples, result.logits)
        return Fitted(head, report, held_out, base.groups)

    def _novelty(self, of_folds: Sequence[Features], features: Features) -> NoveltyBank | None:
        """Keep features of all examples; the threshold comes from folds.

        A tail moves what it was tuned on closer together, so only examples it has not seen show
        how far from the kept ones an ordinary input lies.
        """
        spec, targets, groups = self.spec.novelty, self.examples.targets, self.examples.groups
        seed = self.spec.seed
        if spec is None:
            return None
        distances = []
        for fold, rows in enumerate(of_folds):
            held = self.folds == fold
            bank = NoveltyBank.of(rows[~held], targets[~held], spec, seed, groups[~held])
            if bank is None:
                return None
            distances.append(bank.scores(rows[held]) * bank.threshold)
        whole = NoveltyBank.of(features, targets, spec, seed, groups)
        if whole is None:
            return None
        threshold = np.quantile(np.concatenate(distances), 1 - spec.false_alarm_rate)
        return replace(whole, threshold=max(float(threshold), MIN_THRESHOLD))

    def _part(self, features: Features, rows: NDArray[np.bool_]) -> _Part:
        """Fit the family to the features of some of the examples."""
        family = REGISTRY[self.family]
        weights, spec = self.examples.weights[rows], self.spec
        front = Front.of(spec.front, features, weights, spec.seed, unit=family.unit)
        problem = self._problem(front.features(features), rows)
        return _Part(front, problem, family.begin(problem))

    def _problem(self, features: Float, rows: NDArray[np.bool_]) -> Problem:
        targets, classes = self.examples.targets[rows], len(self.examples.labels)
        weights, groups = self.weights[rows], self.examples.groups[rows]
        return Problem.of(features, targets, classes, self.spec.seed, weights, groups)

    def _l2(self, part: _Part, strength: float | None) -> float | None:
        """Return the penalty that a strength stands for in a problem."""
        if not REGISTRY[self.family].has_l2:
            return None
        return self.spec.l2 if strength is None else strength * part.problem.scale

    @property
    def _chosen(self) -> bool:
        """Whether there is a strength to choose."""
        return REGISTRY[self.family].has_l2 and self.spec.l2 is None
