"""The interface of a live copy's ways of learning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapters.fronts import Front

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Given:
    """What a learner starts from.

    Attributes:
        front: turns embeddings into features; it stays.
        embeddings: float64 of shape (n, dim); n may be 0.
        targets: numbers of their classes, of shape (n,).
        weights: theirs, class weights included; float64 of shape (n,), positive.
        classes: number of classes.
    """

    front: Front
    embeddings: Array
    targets: Indices
    weights: Array
    classes: int


class Learner(ABC):
    """Weights that follow changes of their examples.

    Classes are numbered from 0 in the order in which they were opened. An example is an embedding,
    float64 of shape (dim,), the number of its class and a weight, class weight included.
    """

    of_classes: tuple[str, ...]
    """Names of its arrays, float64, that have a row or number for each class; zero without
    examples."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def open_class(self) -> None:
        """Add a class without examples."""
        for name in self.of_classes:
            array: Array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros((1, *array.shape[1:]))]))

    def close_class(self, index: int) -> None:
        """Remove a class whose examples are all gone; the classes after it move up."""
        for name in self.of_classes:
            setattr(self, name, np.delete(getattr(self, name), index, axis=0))

    @abstractmethod
    def learn(self, embedding: Array, target: int, weight: float) -> None:
        """Take in an example."""

    @abstractmethod
    def forget(self, embedding: Array, target: int, weight: float) -> None:
        """Take out an example that is in.

        Raises:
            InvalidArgument: if it turns out that it is not.
        """

    def relabel(self, embedding: Array, old: int, new: int, weight: float) -> None:
        """Move an example that is in to another class.

        Raises:
            InvalidArgument: if it turns out that it is not in.
        """
        self.forget(embedding, old, weight)
        self.learn(embedding, new, weight)

    @abstractmethod
    def solution(self) -> tuple[Array, Array]:
        """Return weight (classes, features) and bias (classes,); every class has examples."""

    @abstractmethod
    def held_out(
        self, embeddings: Array, targets: Indices, weights: Array, groups: Indices | None = None
    ) -> Array:
        """Return logits (n, classes) of examples that are in, each by a model without it.

        Those with the same number in `groups`, of shape (n,), leave together; every class keeps an
        example then. Without groups, a row is of no use where the model without it would lack the
        example's class.
        """

    @property
    def nbytes(self) -> int:
        """Bytes its arrays hold in memory."""
        return sum(getattr(self, name).nbytes for name in self.of_classes)

    def _features(self, embedding: Array) -> Array:
        features: Array = self._front.features(embedding[None])[0]
        return features
