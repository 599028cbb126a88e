"""Class means that stay exact while examples come and go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adapters.groups import joint_rows
from adapters.live.learner import Array, Given


class LivePrototype:
    """Cosine to the mean of each class; the model of `adapters.families.prototype`.

    State are the classes' weighted sums of unit features. A change costs `features` operations.
    """

    def __init__(self, given: Given) -> None:
        owner = np.arange(given.classes)[:, None] == given.targets
        self._front = given.front
        self._sums: Array = (owner * given.weights) @ given.front.features(given.embeddings)

    @property
    def nbytes(self) -> int:
        """Bytes its arrays hold in memory."""
        return self._sums.nbytes

    def open_class(self) -> None:
        """Add a class without examples."""
        self._sums = np.concatenate([self._sums, np.zeros((1, self._sums.shape[1]))])

    def close_class(self, index: int) -> None:
        """Remove a class without examples."""
        self._sums = np.delete(self._sums, index, axis=0)

    def learn(self, embedding: Array, target: int, weight: float) -> None:
        """Take in an example."""
        self._sums[target] += weight * self._front.features(embedding[None])[0]

    def forget(self, embedding: Array, target: int, weight: float) -> None:
        """Take out an example that is in."""
        self.learn(embedding, target, -weight)

    def relabel(self, embedding: Array, old: int, new: int, weight: float) -> None:
        """Move an example that is in to another class."""
        self.forget(embedding, old, weight)
        self.learn(embedding, new, weight)

    def solution(self) -> tuple[Array, Array]:
        """Return weight (classes, features) and bias (classes,)."""
        return _unit(self._sums), np.zeros(len(self._sums))

    def held_out(
        self,
        embeddings: Array,
        targets: NDArray[np.intp],
        weights: Array,
        groups: NDArray[np.intp] | None = None,
    ) -> Array:
        """Return logits (n, classes), each by a model without the example or its group.

        Only the means of the classes of what leaves are others.
        """
        features = self._front.features(embeddings)
        logits: Array = features @ _unit(self._sums).T
        without = _unit(self._sums[targets] - weights[:, None] * features)
        logits[np.arange(len(targets)), targets] = np.sum(without * features, axis=1)
        for rows in joint_rows(groups):
            owner = np.arange(len(self._sums))[:, None] == targets[rows]
            kept = self._sums - (owner * weights[rows]) @ features[rows]
            logits[rows] = features[rows] @ _unit(kept).T
        return logits


def _unit(rows: Array) -> Array:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)
