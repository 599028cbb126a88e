"""The options that are compared, each as a learner on the same inputs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from adapters.advice.direct_code import pixel_code, text_code
from adapters.advice.direct_features import Texts
from adapters.calibration import calibrated_losses
from adapters.examples import Examples
from adapters.families import REGISTRY
from adapters.families.base import MIN_GAIN
from adapters.optimism import optimism
from adapters.problem import Problem
from adapters.spec import HeadSpec
from adapters.training import MAX_AUTO_COST, choose

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

FIRST_C, LEAST_C, MOST_C, STEP = 10.0, 0.09, 1100.0, 10**0.5
"""Where the path of scikit-learn's inverse strength begins, its ends, and its steps."""

MAX_STEPS = 300
"""Of the solver. What is left after them is far below the noise of the estimate."""

FEW, VALIDATION_FOLDS = 2000, 3
"""Up to so many examples strengths are compared on all folds, then on so many of them."""


class Learner(Protocol):
    """One option on n examples of some classes, in the caller's order."""

    @property
    def optimism(self) -> float:
        """By how much what was chosen on these examples makes the accuracy on them too high."""
        ...

    def held_out(self, folds: Indices) -> Array:
        """Return logits of shape (n, classes), each by a model that did not see the fold.

        Args:
            folds: of each example, of shape (n,), -1 for those that are never held out, whose
                logits mean nothing; every class is known without any of them.
        """
        ...

    def predict_others(self, part: Mask) -> Indices:
        """Return the classes of the other examples, by a model of some of them.

        Args:
            part: which to learn from, of shape (n,); classes without one are not known then.
        """
        ...

    def predict(self, inputs: Any) -> Indices:
        """Return the classes of new inputs, by a model of all examples.

        Args:
            inputs: what the learner was made with, of other inputs.
        """
        ...


class MajorityLearner:
    """Always answers the class that is the most frequent of all.

    It learns nothing from a part: where two classes are as frequent, what is left without a fold
    has more of the one that the fold has less of, and the answer would be wrong by construction.

    Args:
        targets: class indices of shape (n,), each class present.
    """

    optimism = 0.0

    def __init__(self, targets: Indices) -> None:
        self._counts = np.bincount(targets)

    def held_out(self, folds: Indices) -> Array:
        """Return the logarithms of the classes' shares, (n, classes), the same for all examples."""
        return np.tile(np.log(self._counts / len(folds)), (len(folds), 1))

    def predict_others(self, part: Mask) -> Indices:
        """Return that class for all other examples; see `Learner.predict_others`."""
        return np.full(int((~part).sum()), self._counts.argmax())

    def predict(self, inputs: Any) -> Indices:
        """See `Learner.predict`."""
        return np.full(len(inputs), self._counts.argmax())


class LinearLearner:
    """A head on features, as a training makes it: front, strength and family are chosen alike.

    Args:
        features: numbers of shape (n, width): embeddings, or pixels.
        targets: class indices of shape (n,), two classes present in two groups or more.
        family: one of `adapters.spec.FAMILIES`, or "auto". "logistic" becomes "ridge" where it
            costs more than "auto" would allow.
        seed: decides how examples are dealt when the strength is chosen.
        groups: the group of each example, of shape (n,); None if they are independent.
    """

    def __init__(
        self,
        features: NDArray[Any],
        targets: Indices,
        family: str,
        seed: int,
        groups: Indices | None = None,
    ) -> None:
        n, classes = len(targets), int(targets.max()) + 1
        cost = REGISTRY["logistic"].cost(n, min(features.shape), classes)
        if family == "logistic" and cost > MAX_AUTO_COST:
            family = "ridge"
        # Numbers in front of them keep classes in their order when they are sorted as words.
        labels = [f"{target:05}" for target in targets]
        examples = Examples.of(features, labels)
        if groups is not None:
            examples = examples.grouped(groups)
        self._chosen = choose(examples, HeadSpec(family=family, seed=seed))
        self._order = examples.order
        self._seed = seed

    @property
    def optimism(self) -> float:
        """See `Learner.optimism`."""
        return self._chosen.optimism

    def code(self, folds: int) -> str:
        """Return the lines that train it on pictures; see `direct_code.pixel_code`."""
        family, l2 = self._chosen.family.name, self._chosen.l2
        assert l2 is not None, "the families of direct training have a strength"
        problem = self._chosen.problem
        return pixel_code(problem.features.shape[1], family, l2, problem.classes, folds)

    def held_out(self, folds: Indices) -> Array:
        """See `Learner.held_out`."""
        found = self._chosen.fit.held_out(self._chosen.l2, folds[self._order])
        logits = np.empty_like(found)
        logits[self._order] = found
        return logits

    def predict_others(self, part: Mask) -> Indices:
        """See `Learner.predict_others`; the strength is that of all examples, in proportion."""
        problem, some = self._chosen.problem, part[self._order]
        present, targets = np.unique(problem.targets[some], return_inverse=True)
        answers = np.full(len(part), present[0])
        if len(present) > 1:
            smaller = Problem.of(problem.features[some], targets, len(present), self._seed)
            l2 = None if self._chosen.l2 is None else self._chosen.l2 * float(part.mean())
            weight, bias = self._chosen.family.begin(smaller).solve(l2)
            logits = problem.features @ weight.T + bias
            answers[self._order] = present[logits.argmax(axis=1)]
        return answers[~part]

    def predict(self, inputs: Any) -> Indices:
        """See `Learner.predict`."""
        weight, bias = self._chosen.fit.solve(self._chosen.l2)
        logits = self._chosen.front.features(inputs) @ weight.T + bias
        answers: Indices = logits.argmax(axis=1)
        return answers


class TextLearner:
    """Logistic regression on TF-IDF by scikit-learn, which takes sparse rows as they are.

    The strength is chosen by the calibrated log-loss over folds, as heads choose theirs: from where
    the path begins towards weaker penalties, then stronger ones, while that saves `MIN_GAIN`.

    Args:
        texts: n of them.
        targets: class indices of shape (n,), each class present twice or more.
        folds: of each example, of shape (n,), on which the strength is chosen.
        groups: the group of each example, of shape (n,).
        seed: of what the choice is compared with.
    """

    def __init__(
        self, texts: Texts, targets: Indices, folds: Indices, groups: Indices, seed: int
    ) -> None:
        self._texts, self._targets = texts, targets
        self._strength, self.optimism = self._choose(folds, groups, seed)

    def held_out(self, folds: Indices) -> Array:
        """See `Learner.held_out`."""
        return self._held_out(folds, int(folds.max()) + 1, self._strength)

    def predict_others(self, part: Mask) -> Indices:
        """See `Learner.predict_others`; the strength is that of all examples, in proportion."""
        rows, targets = self._texts.learned_from(part), self._targets[part]
        if (targets == targets[0]).all():
            return np.full(int((~part).sum()), targets[0])
        model = _fitted(rows[part], targets, self._strength / float(part.mean()))
        answers: Indices = model.predict(rows[~part])
        return answers

    def predict(self, inputs: Sequence[str]) -> Indices:
        """See `Learner.predict`."""
        model = _fitted(self._texts.tfidf, self._targets, self._strength)
        answers: Indices = model.predict(self._texts.features.of(inputs))
        return answers

    def code(self, folds: int) -> str:
        """Return the lines that train it; see `direct_code.text_code`."""
        return text_code(self._texts.features, self._strength, MAX_STEPS, folds)

    def _choose(self, folds: Indices, groups: Indices, seed: int) -> tuple[float, float]:
        """Return the strength, and the optimism of choosing it."""
        count = int(folds.max()) + 1
        used = count if len(folds) <= FEW else min(count, VALIDATION_FOLDS)
        held_out = (folds >= 0) & (folds < used)
        targets = self._targets[held_out]
        losses: dict[int, float] = {}
        found: dict[int, Array] = {}

        def loss(step: int) -> float:
            if step not in losses:
                found[step] = self._held_out(folds, used, FIRST_C * STEP**step)[held_out]
                losses[step] = float(calibrated_losses(found[step][None], targets)[1][0])
            return losses[step]

        def allowed(step: int) -> bool:
            return LEAST_C <= FIRST_C * STEP**step <= MOST_C

        best = 0
        while allowed(best + 1) and loss(best + 1) < (1 - MIN_GAIN) * loss(best):
            best += 1
        while allowed(best - 1) and loss(best - 1) <= (1 + MIN_GAIN) * min(losses.values()):
            best -= 1
        tried = np.stack([found[step] for step in sorted(found)])
        luck = optimism(tried, targets, groups[held_out], seed, MIN_GAIN)
        return float(FIRST_C * STEP**best), luck

    def _held_out(self, folds: Indices, count: int, strength: float) -> Array:
        """Return the logits of the first folds' examples; those of others are 0."""
        targets = self._targets
        logits = np.zeros((len(targets), int(targets.max()) + 1))
        for fold in range(count):
            out = folds == fold
            rows = self._texts.learned_from(~out)
            values = _fitted(rows[~out], targets[~out], strength).decision_function(rows[out])
            two = values.ndim == 1
            logits[out] = np.column_stack([np.zeros(len(values)), values]) if two else values
        return logits


def _fitted(rows: csr_array[Any], targets: Indices, strength: float) -> LogisticRegression:
    model = LogisticRegression(C=strength, max_iter=MAX_STEPS, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Many classes of two examples each are what they are.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return model.fit(rows, targets)
