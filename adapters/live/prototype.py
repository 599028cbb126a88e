"""Class means that stay exact while examples come and go."""

from __future__ import annotations

import numpy as np

from adapters.fronts import unit_rows
from adapters.groups import joint_rows
from adapters.live.learner import Array, Given, Indices, Learner


class LivePrototype(Learner):
    """Cosine to the mean of each class; the model of `adapters.families.prototype`.

    State are the classes' weighted sums of unit features. A change costs `features` operations.
    """

    of_classes = ("_sums",)

    def __init__(self, given: Given) -> None:
        super().__init__(given.front)
        owner = np.arange(given.classes)[:, None] == given.targets
        self._sums: Array = (owner * given.weights) @ given.front.features(given.embeddings)

    def learn(self, embedding: Array, target: int, weight: float) -> None:
        """Take in an example."""
        self._sums[target] += weight * self._features(embedding)

    def forget(self, embedding: Array, target: int, weight: float) -> None:
        """Take out an example that is in."""
        self.learn(embedding, target, -weight)

    def solution(self) -> tuple[Array, Array]:
        """Return weight (classes, features) and bias (classes,)."""
        return unit_rows(self._sums), np.zeros(len(self._sums))

    def held_out(
        self, embeddings: Array, targets: Indices, weights: Array, groups: Indices | None = None
    ) -> Array:
        """Return logits (n, classes), each by a model without the example or its group.

        Only the means of the classes of what leaves are others.
        """
        features = self._front.features(embeddings)
        logits: Array = features @ unit_rows(self._sums).T
        without = unit_rows(self._sums[targets] - weights[:, None] * features)
        logits[np.arange(len(targets)), targets] = np.sum(without * features, axis=1)
        for rows in joint_rows(groups):
            owner = np.arange(len(self._sums))[:, None] == targets[rows]
            kept = self._sums - (owner * weights[rows]) @ features[rows]
            logits[rows] = features[rows] @ unit_rows(kept).T
        return logits
