"""Logistic regression that follows changes of its examples with a few warm steps."""

from __future__ import annotations

import numpy as np
import scipy.optimize

from adapters.folds import grouped_folds, stratified_folds
from adapters.live.kept_examples import KeptExamples
from adapters.live.learner import Array, Given, Indices, Learner

FOLDS = 10

TOLERANCE, FOLD_TOLERANCE = 1e-9, 1e-6
"""Share of the objective that a last step gains; the first is far below 1e-4 in log-loss."""

MAX_STEPS = 1000


class LiveLogistic(Learner):
    """Multinomial cross-entropy plus the penalty; the loss of `adapters.families.logistic`.

    There is no exact update, so it keeps its examples' features (float32). Changes are gathered
    until `solution` minimises the objective with L-BFGS (Liu and Nocedal 1989, Math. Program.
    45:503) from the weights before them. Newton's method would end at the same minimum, in fewer
    steps, but needs a Hessian of features x features for each pair of classes. Each step costs
    4 n features classes operations.
    """

    of_classes = ("_parameters",)

    def __init__(self, given: Given, l2: float) -> None:
        super().__init__(given.front)
        self._l2 = l2
        self._examples = KeptExamples(given)
        self._parameters = np.zeros((given.classes, given.front.feature_count + 1))

    @property
    def nbytes(self) -> int:
        """Bytes its arrays hold in memory."""
        return self._examples.nbytes + super().nbytes

    def close_class(self, index: int) -> None:
        """Remove a class without examples."""
        super().close_class(index)
        self._examples.close_class(index)

    def learn(self, embedding: Array, target: int, weight: float) -> None:
        """Take in an example."""
        self._examples.add(embedding, self._features(embedding), target, weight)

    def forget(self, embedding: Array, target: int, weight: float) -> None:
        """Take out an example that is in."""
        self._examples.remove(embedding, target)

    def relabel(self, embedding: Array, old: int, new: int, weight: float) -> None:
        """Move an example that is in to another class."""
        self._examples.relabel(embedding, old, new)

    def solution(self) -> tuple[Array, Array]:
        """Follow the changes since the last call; weight (classes, features), bias (classes,)."""
        self._parameters = self._solve(self._examples.weights, TOLERANCE)
        self._parameters[:, -1] -= self._parameters[:, -1].mean()  # scores say the same
        return self._parameters[:, :-1], self._parameters[:, -1]

    def held_out(
        self, embeddings: Array, targets: Indices, weights: Array, groups: Indices | None = None
    ) -> Array:
        """Return logits (n, classes), each by a model without the example's fold."""
        places = self._examples.find(embeddings, targets)
        features = self._examples.features
        logits = np.empty((len(places), len(self._parameters)))
        if groups is None:
            folds = stratified_folds(targets, min(FOLDS, len(places)), seed=0)
        else:
            everyone = np.ones(len(places), dtype=bool)
            count = min(FOLDS, len(np.unique(groups)))
            folds = grouped_folds(targets, groups, everyone, count, seed=0)
        for fold in np.unique(folds):
            left_out = places[folds == fold]
            kept = self._examples.weights.copy()
            kept[left_out] = 0.0
            parameters = self._solve(kept, FOLD_TOLERANCE)
            logits[folds == fold] = features[left_out] @ parameters[:, :-1].T + parameters[:, -1]
        return logits

    def _solve(self, weights: Array, tolerance: float) -> Array:
        """Minimise the objective, with these weights, from the present parameters.

        Products of matrices are in float32.
        """
        features, targets = self._examples.features, self._examples.targets
        shape, rows = self._parameters.shape, np.arange(len(targets))
        # The bias's curvature is of the order of n p (1 - p), that of most features nearer to l2.
        units = np.ones(shape[1])
        units[-1] = np.sqrt(1 + weights.sum() / 10)

        def objective(flat: Array) -> tuple[float, Array]:
            parameters = flat.reshape(shape) / units
            weight, bias = parameters[:, :-1], parameters[:, -1]
            scores = (features @ weight.T.astype(np.float32)).astype(np.float64) + bias
            scores -= scores.max(axis=1, keepdims=True)
            right = scores[rows, targets]
            np.exp(scores, out=scores)
            total = scores.sum(axis=1)
            loss = float(weights @ (np.log(total) - right))
            loss += self._l2 / 2 * float(np.vdot(weight, weight))
            scores /= total[:, None]
            scores[rows, targets] -= 1
            scores *= weights[:, None]
            gradient = np.empty(shape)
            gradient[:, :-1] = scores.T.astype(np.float32) @ features
            gradient[:, :-1] += self._l2 * weight
            gradient[:, -1] = scores.sum(axis=0)
            return loss, (gradient / units).ravel()

        result = scipy.optimize.minimize(
            objective,
            (self._parameters * units).ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"ftol": tolerance, "gtol": 1e-6, "maxiter": MAX_STEPS, "maxcor": 10},
        )
        solved: Array = result.x.reshape(shape) / units
        return solved
