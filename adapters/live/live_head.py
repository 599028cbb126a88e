"""A head that starts from a version and follows the changes of its examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adapters.errors import InvalidArgument, InvalidExamples, UnknownLabel
from adapters.examples import MIN_CLASSES
from adapters.head import Head
from adapters.live.changes import Change, check_changes, check_examples
from adapters.live.learner import Array, Given, Learner
from adapters.live.least_squares import LiveLDA, LiveRidge
from adapters.live.logistic import LiveLogistic
from adapters.live.prototype import LivePrototype

REFRESH_UPDATES = 1000
"""Updates after which a copy is better built anew: rounding errors of updates add up."""


def live_head(
    head: Head,
    embeddings: ArrayLike,
    labels: Sequence[str],
    weights: ArrayLike | None = None,
) -> LiveHead:
    """Train a live copy of a head anew, behind its front, with its strength and class weights.

    Args:
        head: the version to start from.
        embeddings: of shape (n, dim); n may be 0.
        labels: one per embedding.
        weights: positive, of shape (n,), without those of classes; 1 each if None.

    Raises:
        InvalidArgument: if the head was trained elsewhere, so that its front, strength or family is
            not known.
        InvalidEmbeddings: if embeddings are not (n, dim) finite numbers.
        InvalidExamples: if labels or weights do not fit them.
    """
    rows, numbers = check_examples(embeddings, labels, weights, head.dim)
    return LiveHead(head, rows, labels, numbers)


class LiveHead:
    """A head kept up to date with changes of its examples; made by `live_head`.

    After any changes in any order it equals one trained anew on the resulting examples, behind the
    same front and with the same strength and class weights: exactly for "ridge", "lda" and
    "prototype" (to rounding errors, which `REFRESH_UPDATES` bounds), and to a tolerance for
    "logistic". Classes come with their first example and go with their last. Not safe for
    use by two threads at once; the heads it gives are.

    Attributes:
        updates: changes applied since it was built.
    """

    def __init__(
        self, base: Head, embeddings: Array, labels: Sequence[str], weights: Array
    ) -> None:
        names, targets = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
        self._base = base
        self._labels: list[str] = list(map(str, names))
        self._members: list[int] = np.bincount(targets, minlength=len(names)).tolist()
        weights = self._weights(labels, weights)
        self._learner = _learner(base, embeddings, targets, weights, len(names))
        self._head = self._snapshot()
        self.updates = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that have examples, sorted."""
        return tuple(sorted(self._labels))

    @property
    def ready(self) -> bool:
        """Whether there are two classes with examples, without which there is no head."""
        return len(self._labels) >= MIN_CLASSES

    @property
    def head(self) -> Head:
        """The head as it is now; it does not change with this copy.

        What else belongs to the version it started from (temperature, novelty, conformal) is kept.

        Raises:
            InvalidExamples: if the copy is not `ready`.
        """
        if self._head is None:
            raise InvalidExamples(
                f"a head needs examples of {MIN_CLASSES} classes, there are {len(self._labels)}",
                field="labels",
                limit=MIN_CLASSES,
                value=len(self._labels),
            )
        return self._head

    @property
    def nbytes(self) -> int:
        """Bytes it holds in memory, for caches that are bounded in bytes."""
        return self._learner.nbytes + (self._head or self._base).nbytes

    def apply(self, changes: Sequence[Change]) -> None:
        """Learn changes, in their order.

        Raises:
            InvalidEmbeddings: if an embedding is not (dim,) finite numbers. Nothing is learned.
            InvalidArgument: if a change has no label at all, an empty one or a weight that is not
                positive, or takes out an example of a class that has none. Nothing is learned.
                Likewise if it takes out an example that is not in, where that can be detected; the
                changes before it have then been learned.
        """
        members = dict(zip(self._labels, self._members, strict=True))
        embeddings = check_changes(changes, members, self._base.dim)
        try:
            for change, embedding in zip(changes, embeddings, strict=True):
                self._apply(change, embedding)
                self.updates += 1
        finally:
            self._close_classes()
            self._head = self._snapshot()

    def held_out(
        self,
        embeddings: ArrayLike,
        labels: Sequence[str],
        weights: ArrayLike | None = None,
        groups: NDArray[np.intp] | None = None,
    ) -> NDArray[np.bool_]:
        """Return which examples the copy without them predicts right; shape (n,).

        As `held_out_logits` says. The only example of a class counts as wrong, and so does the only
        group of one.

        Args:
            embeddings: as there.
            labels: as there.
            weights: as there.
            groups: as there.

        Raises:
            InvalidArgument: as there.
            UnknownLabel: as there.
        """
        if not len(labels) or not self.ready:
            check_examples(embeddings, labels, weights, self._base.dim)
            return np.zeros(len(labels), dtype=np.bool_)
        logits = self.held_out_logits(embeddings, labels, weights, groups)
        places = {label: place for place, label in enumerate(self.labels)}
        targets = np.array([places[label] for label in labels], dtype=np.intp)
        members = dict(zip(self._labels, self._members, strict=True))
        accompanied = np.array([members[label] > 1 for label in labels])
        accompanied &= ~np.isnan(logits[:, 0])
        right: NDArray[np.bool_] = (logits.argmax(axis=1) == targets) & accompanied
        return right

    def held_out_logits(
        self,
        embeddings: ArrayLike,
        labels: Sequence[str],
        weights: ArrayLike | None = None,
        groups: NDArray[np.intp] | None = None,
    ) -> Array:
        """Score examples by the copy without them; float64 of shape (n, classes), as `labels`.

        By exact leave-one-out, with front and strength held fixed, for "ridge", "lda" and
        "prototype"; by 10 folds for "logistic".

        Args:
            embeddings: of shape (n, dim), all of examples that the copy has learned.
            labels: theirs, n of them.
            weights: theirs, of shape (n,); 1 each if None.
            groups: the same number for examples that are left out together, of shape (n,); None if
                all are independent. Rows of a group without which a class would have no example
                are nan.

        Raises:
            InvalidArgument: if shapes or numbers are wrong, or an example is not in, where that
                can be detected.
            UnknownLabel: if a label has no examples.
        """
        rows, numbers = check_examples(embeddings, labels, weights, self._base.dim)
        index = {label: place for place, label in enumerate(self._labels)}
        unknown = next((label for label in labels if label not in index), None)
        if unknown is not None:
            raise UnknownLabel.at(
                "labels", "label {value!r} has no examples in the live copy", len(index), unknown
            )
        targets = np.array([index[label] for label in labels], dtype=np.intp)
        given = self._weights(labels, numbers)
        if groups is None or len(np.unique(groups)) == len(groups):
            logits = self._learner.held_out(rows, targets, given)
        else:
            kept = self._outlived(targets, groups)
            logits = np.full((len(rows), len(self._labels)), np.nan)
            if len(kept):
                logits[kept] = self._learner.held_out(
                    rows[kept], targets[kept], given[kept], groups[kept]
                )
        return logits[:, [index[label] for label in self.labels]]

    def _outlived(self, targets: NDArray[np.intp], groups: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the rows of groups without which every class still has examples."""
        several = int(groups.max()) + 1
        pairs, own, counts = np.unique(
            targets * several + groups, return_inverse=True, return_counts=True
        )
        last = (counts >= np.array(self._members)[pairs // several])[own]
        return np.flatnonzero(~np.isin(groups, groups[last]))

    def _apply(self, change: Change, embedding: Array) -> None:
        """Apply one change to the learner."""
        label, old_label = change.label, change.old_label
        target = None if label is None else self._place(label)
        old = None if old_label is None else self._place(old_label)
        weight = change.weight * self._class_weight(label)
        old_weight = change.weight if change.old_weight is None else change.old_weight
        old_weight *= self._class_weight(old_label)
        if target is not None and old is not None and weight == old_weight:
            self._learner.relabel(embedding, old, target, weight)
        else:
            if old is not None:
                self._learner.forget(embedding, old, old_weight)
            if target is not None:
                self._learner.learn(embedding, target, weight)
        if old is not None:
            self._members[old] -= 1
        if target is not None:
            self._members[target] += 1

    def _place(self, label: str) -> int:
        """Return the number of a label's class, opened where there is none."""
        if label not in self._labels:
            self._learner.open_class()
            self._labels.append(label)
            self._members.append(0)
        return self._labels.index(label)

    def _close_classes(self) -> None:
        """Remove classes without examples."""
        for index in reversed(range(len(self._labels))):
            if not self._members[index]:
                self._learner.close_class(index)
                del self._labels[index], self._members[index]

    def _snapshot(self) -> Head | None:
        if not self.ready:
            return None
        weight, bias = self._learner.solution()
        if self._base.front is not None:
            weight, bias = self._base.front.fold(weight, bias)
        order = sorted(range(len(self._labels)), key=self._labels.__getitem__)
        return replace(
            self._base,
            labels=self.labels,
            weight=weight[order].astype(np.float32),
            bias=bias[order].astype(np.float32),
        )

    def _class_weight(self, label: str | None) -> float:
        return 1.0 if label is None else self._base.class_weights.get(label, 1.0)

    def _weights(self, labels: Sequence[str], weights: Array) -> Array:
        """Multiply examples' weights by those of their classes."""
        of_classes = np.array([self._class_weight(label) for label in labels], dtype=np.float64)
        return weights * of_classes


_WITH_STRENGTH: Mapping[str, type[LiveRidge | LiveLDA | LiveLogistic]] = MappingProxyType(
    {"logistic": LiveLogistic, "ridge": LiveRidge, "lda": LiveLDA}
)


def _learner(
    head: Head, embeddings: Array, targets: NDArray[np.intp], weights: Array, classes: int
) -> Learner:
    """Return the learner of a head's family."""
    if head.front is not None:
        given = Given(head.front, embeddings, targets, weights, classes)
        if head.family == "prototype":
            return LivePrototype(given)
        if head.l2 is not None and head.family in _WITH_STRENGTH:
            return _WITH_STRENGTH[head.family](given, head.l2)
    raise InvalidArgument(
        "a head that was trained elsewhere cannot be updated: its front, strength or family is "
        "not known",
        field="head",
        limit="trained here",
        value=head.family,
    )
