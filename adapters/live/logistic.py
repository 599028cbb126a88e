"""Logistic regression that follows changes of its examples with a few warm steps."""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from adapters.errors import InvalidArgument
from adapters.folds import stratified_folds
from adapters.fronts import Front
from adapters.live.learner import Array

Features = NDArray[np.float32]

FOLDS = 10

TOLERANCE, FOLD_TOLERANCE = 1e-9, 1e-6
"""Share of the objective that a last step gains; the first is far below 1e-4 in log-loss."""

MAX_STEPS = 1000


class LiveLogistic:
    """Multinomial cross-entropy plus the penalty; the loss of `adapters.families.logistic`.

    There is no exact update, so it keeps its examples' features (float32). Changes are gathered
    until `solution` minimises the objective with L-BFGS (Liu and Nocedal 1989, Math. Program.
    45:503) from the weights before them. Each step costs 4 n features classes operations.
    """

    def __init__(
        self,
        front: Front,
        l2: float,
        embeddings: Array,
        targets: NDArray[np.intp],
        weights: Array,
        classes: int,
    ) -> None:
        self._front = front
        self._l2 = l2
        self._features: list[Features] = list(front.features(embeddings).astype(np.float32))
        self._targets: list[int] = targets.tolist()
        self._weights: list[float] = weights.tolist()
        self._keys = [_key(embedding) for embedding in embeddings]
        self._parameters = np.zeros((classes, front.feature_count + 1))

    @property
    def nbytes(self) -> int:
        """Bytes its arrays hold in memory."""
        features = 4 * len(self._features) * (self._parameters.shape[1] - 1)
        return features + self._parameters.nbytes

    def open_class(self) -> None:
        """Add a class without examples."""
        nothing = np.zeros((1, self._parameters.shape[1]))
        self._parameters = np.concatenate([self._parameters, nothing])

    def close_class(self, index: int) -> None:
        """Remove a class without examples."""
        self._parameters = np.delete(self._parameters, index, axis=0)
        self._targets = [target - (target > index) for target in self._targets]

    def learn(self, embedding: Array, target: int, weight: float) -> None:
        """Take in an example."""
        self._features.append(self._front.features(embedding[None])[0].astype(np.float32))
        self._targets.append(target)
        self._weights.append(weight)
        self._keys.append(_key(embedding))

    def forget(self, embedding: Array, target: int, weight: float) -> None:
        """Take out an example that is in."""
        row = self._find(embedding, target)
        for column in (self._features, self._targets, self._weights, self._keys):
            del column[row]

    def relabel(self, embedding: Array, old: int, new: int, weight: float) -> None:
        """Move an example that is in to another class."""
        self._targets[self._find(embedding, old)] = new

    def solution(self) -> tuple[Array, Array]:
        """Follow the changes since the last call; weight (classes, features), bias (classes,)."""
        features, targets, weights = self._examples()
        self._parameters = self._solve(features, targets, weights, TOLERANCE)
        self._parameters[:, -1] -= self._parameters[:, -1].mean()  # scores say the same
        return self._parameters[:, :-1], self._parameters[:, -1]

    def held_out(self, embeddings: Array, targets: NDArray[np.intp], weights: Array) -> Array:
        """Return logits (n, classes), each by a model without the example's fold."""
        places = self._places(embeddings, targets)
        features, own, numbers = self._examples()
        logits = np.empty((len(places), len(self._parameters)))
        folds = stratified_folds(targets, min(FOLDS, len(places)), seed=0)
        for fold in np.unique(folds):
            left_out = places[folds == fold]
            kept = np.setdiff1d(np.arange(len(features)), left_out)
            parameters = self._solve(features[kept], own[kept], numbers[kept], FOLD_TOLERANCE)
            logits[folds == fold] = features[left_out] @ parameters[:, :-1].T + parameters[:, -1]
        return logits

    def _examples(self) -> tuple[Features, NDArray[np.intp], Array]:
        return np.stack(self._features), np.array(self._targets), np.array(self._weights)

    def _find(self, embedding: Array, target: int) -> int:
        key = _key(embedding)
        for row, (other, own) in enumerate(zip(self._keys, self._targets, strict=True)):
            if other == key and own == target:
                return row
        raise _unknown()

    def _places(self, embeddings: Array, targets: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return where examples are; equal ones are taken in turn."""
        places = defaultdict(list)
        for row, known in enumerate(zip(self._keys, self._targets, strict=True)):
            places[known].append(row)
        found = []
        for embedding, target in zip(embeddings, targets.tolist(), strict=True):
            rows = places[_key(embedding), target]
            if not rows:
                raise _unknown()
            found.append(rows.pop())
        return np.array(found, dtype=np.intp)

    def _solve(
        self, features: Features, targets: NDArray[np.intp], weights: Array, tolerance: float
    ) -> Array:
        """Minimise the objective from the present parameters; products in float32."""
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


def _key(embedding: Array) -> bytes:
    """Return what an embedding is found by."""
    return blake2b(embedding.tobytes(), digest_size=16).digest()


def _unknown() -> InvalidArgument:
    return InvalidArgument(
        "the live copy has not learned this example",
        field="changes.embedding",
        limit="learned before",
    )
