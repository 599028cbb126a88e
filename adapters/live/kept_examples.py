"""Examples that are kept, to be found and taken out again by their content."""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from adapters.errors import InvalidArgument
from adapters.live.learner import Array, Given, Indices

Features = NDArray[np.float32]


class KeptExamples:
    """Features, classes and weights of examples, in arrays with room to grow.

    An example that comes is written behind the others; where one goes, the last takes its place.
    So a change costs one row, but for one in n / 8 that makes more room. The order of the rows
    means nothing. Examples are found by a digest of their embedding (blake2b, 128 bits).
    """

    def __init__(self, given: Given) -> None:
        self._count = len(given.targets)
        self._features = given.front.features(given.embeddings).astype(np.float32)
        self._targets = given.targets.astype(np.intp)
        self._weights = given.weights.astype(np.float64)
        self._keys = [_key(embedding) for embedding in given.embeddings]
        self._rows: defaultdict[bytes, list[int]] = defaultdict(list)
        """Where examples with an embedding are."""
        for row, key in enumerate(self._keys):
            self._rows[key].append(row)

    @property
    def nbytes(self) -> int:
        """Bytes its arrays hold in memory, and its keys roughly."""
        arrays = (self._features, self._targets, self._weights)
        return sum(array.nbytes for array in arrays) + _BYTES_PER_KEY * self._count

    @property
    def features(self) -> Features:
        """Float32 of shape (n, width); a view that the next change may overwrite."""
        return self._features[: self._count]

    @property
    def targets(self) -> Indices:
        """Class of each example, of shape (n,); likewise a view."""
        return self._targets[: self._count]

    @property
    def weights(self) -> Array:
        """Weight of each example, of shape (n,); likewise a view."""
        return self._weights[: self._count]

    def add(self, embedding: Array, features: Array, target: int, weight: float) -> None:
        """Take in an example."""
        row = self._count
        if row == len(self._targets):
            self._make_room()
        self._features[row], self._targets[row], self._weights[row] = features, target, weight
        key = _key(embedding)
        self._keys.append(key)
        self._rows[key].append(row)
        self._count += 1

    def remove(self, embedding: Array, target: int) -> None:
        """Take out an example.

        Raises:
            InvalidArgument: if it is not in.
        """
        row = self._find(embedding, target)
        self._forget(self._keys[row], row)
        self._count -= 1
        last, key = self._count, self._keys.pop()
        if row != last:
            self._rows[key][self._rows[key].index(last)] = row
            self._keys[row] = key
            for array in (self._features, self._targets, self._weights):
                array[row] = array[last]

    def relabel(self, embedding: Array, old: int, new: int) -> None:
        """Move an example to another class.

        Raises:
            InvalidArgument: if it is not in.
        """
        self._targets[self._find(embedding, old)] = new

    def close_class(self, index: int) -> None:
        """Let the classes after one that has no examples move up."""
        self.targets[self.targets > index] -= 1

    def find(self, embeddings: Array, targets: Indices) -> Indices:
        """Return where examples are; equal ones are taken in turn.

        Raises:
            InvalidArgument: if one is not in.
        """
        places: dict[tuple[bytes, int], list[int]] = {}
        found = []
        for embedding, target in zip(embeddings, targets.tolist(), strict=True):
            key = _key(embedding)
            if (key, target) not in places:
                places[key, target] = self._of_class(key, target)
            rows = places[key, target]
            if not rows:
                raise _unknown()
            found.append(rows.pop())
        return np.array(found, dtype=np.intp)

    def _find(self, embedding: Array, target: int) -> int:
        rows = self._of_class(_key(embedding), target)
        if not rows:
            raise _unknown()
        return rows[0]

    def _of_class(self, key: bytes, target: int) -> list[int]:
        return [row for row in self._rows.get(key, ()) if self._targets[row] == target]

    def _forget(self, key: bytes, row: int) -> None:
        self._rows[key].remove(row)
        if not self._rows[key]:
            del self._rows[key]

    def _make_room(self) -> None:
        more = max(_LEAST_ROOM, len(self._targets) // 8)
        shape = more, self._features.shape[1]
        self._features = np.concatenate([self._features, np.empty(shape, np.float32)])
        self._targets = np.concatenate([self._targets, np.empty(more, np.intp)])
        self._weights = np.concatenate([self._weights, np.empty(more)])


_LEAST_ROOM = 16
_BYTES_PER_KEY = 200


def _key(embedding: Array) -> bytes:
    """Return what an embedding is found by."""
    return blake2b(embedding.tobytes(), digest_size=16).digest()


def _unknown() -> InvalidArgument:
    return InvalidArgument(
        "the live copy has not learned this example",
        field="changes.embedding",
        limit="learned before",
    )
