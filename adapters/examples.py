"""Labelled embeddings and views of them, checked and in an order of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adapters.errors import InvalidExamples
from adapters.groups import groups_by_class, held_out

MIN_CLASSES = 2


@dataclass(frozen=True, eq=False)
class Views:
    """Views of some examples: flips, crops or noisy copies.

    Attributes:
        embeddings: of shape (m, dim).
        rows: the example each of them is a view of, of shape (m,).
    """

    embeddings: NDArray[np.floating[Any]]
    rows: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples a head can be learned from.

    Attributes:
        embeddings: float32 or float64 of shape (n, dim), all finite.
        targets: class indices of shape (n,).
        weights: float64 of shape (n,), all positive.
        labels: one per class, sorted.
        order: where the caller had each example, of shape (n,).
        groups: a number for each example, from 0 on, of shape (n,): those with the same number are
            held out together.
    """

    embeddings: NDArray[np.floating[Any]]
    targets: NDArray[np.intp]
    weights: NDArray[np.float64]
    labels: tuple[str, ...]
    order: NDArray[np.intp]
    groups: NDArray[np.intp]

    @property
    def counts(self) -> NDArray[np.intp]:
        """Examples per class; shape (classes,)."""
        return np.bincount(self.targets, minlength=len(self.labels))

    @classmethod
    def of(
        cls, embeddings: ArrayLike, labels: Sequence[str], weights: ArrayLike | None = None
    ) -> Examples:
        """Check examples and sort them by content, so that their order cannot matter.

        Args:
            embeddings: numbers of shape (n, dim).
            labels: one per embedding.
            weights: positive numbers of shape (n,); 1 each if None.

        Raises:
            InvalidExamples: if there are none, shapes differ, a number is not finite, a weight is
                not positive, or there are fewer than two classes.
        """
        rows = np.asarray(embeddings)
        _check_rows(rows, len(labels))
        given = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
        _check_weights(given, len(rows))
        names, targets = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
        if len(names) < MIN_CLASSES:
            raise InvalidExamples(
                f"all examples have the label {names[0]!r}, "
                f"at least {MIN_CLASSES} labels are needed",
                field="labels",
                limit=MIN_CLASSES,
                value=len(names),
            )
        order = _by_content(rows, targets)
        return cls(
            rows[order] if rows.dtype in (np.float32, np.float64) else rows[order].astype(float),
            targets[order],
            given[order],
            tuple(map(str, names)),
            order,
            np.arange(len(order)),
        )

    def grouped(self, groups: NDArray[np.intp]) -> Examples:
        """Return these examples in groups; `groups` has the caller's order, shape (n,).

        Groups are numbered as they come up, so that their numbers depend on the content alone.
        """
        _, first, own = np.unique(groups[self.order], return_index=True, return_inverse=True)
        places = np.empty(len(first), dtype=np.intp)
        places[np.argsort(first)] = np.arange(len(first))
        return replace(self, groups=places[own])

    @property
    def group_counts(self) -> NDArray[np.intp]:
        """In how many groups each class has examples; shape (classes,)."""
        return groups_by_class(self.targets, self.groups, len(self.labels))

    @property
    def held(self) -> NDArray[np.bool_]:
        """Which examples can be held out, of shape (n,); see `adapters.groups.held_out`."""
        return held_out(self.targets, self.groups, len(self.labels))

    @property
    def estimated(self) -> NDArray[np.bool_]:
        """Which classes have examples that can be held out; shape (classes,)."""
        return np.bincount(self.targets[self.held], minlength=len(self.labels)) > 0

    @property
    def estimable(self) -> bool:
        """Whether there are two such classes, without which nothing can be said of new inputs."""
        return int(np.count_nonzero(self.estimated)) >= MIN_CLASSES

    def expect_of_two_classes(self, least: int) -> None:
        """Raise `InvalidExamples` unless two classes have so many examples at least."""
        counts = self.counts
        if np.count_nonzero(counts >= least) >= MIN_CLASSES:
            return
        second = int(np.argsort(-counts, kind="stable")[MIN_CLASSES - 1])
        raise InvalidExamples(
            f"label {self.labels[second]!r} has {counts[second]} example, "
            f"at least {least} are needed of {MIN_CLASSES} labels",
            field=f"labels[{self.labels[second]}]",
            limit=least,
            value=int(counts[second]),
        )

    def find(self, views: Views) -> Views:
        """Check views of the caller's examples, point them at these, and sort them.

        Raises:
            InvalidExamples: if shapes differ, a number is not finite or a row is no example's.
        """
        n, dim = self.embeddings.shape
        embeddings, rows = np.asarray(views.embeddings), np.asarray(views.rows)
        if embeddings.ndim != 2 or embeddings.shape[1] != dim or rows.shape != (len(embeddings),):
            raise InvalidExamples(
                f"views have shapes {embeddings.shape} and {rows.shape}, "
                f"expected (m, {dim}) and (m,)",
                field="views",
                limit=f"(m, {dim}) and (m,)",
                value=f"{embeddings.shape} and {rows.shape}",
            )
        _check_finite(embeddings, "views.embeddings", "view")
        strange = (rows < 0) | (rows >= n)
        if strange.any():
            raise InvalidExamples(
                f"a view belongs to row {rows[strange][0]}, there are {n}",
                field="views.rows",
                limit=n - 1,
                value=int(rows[strange][0]),
            )
        place = np.empty(n, dtype=np.intp)
        place[self.order] = np.arange(n)
        order = _by_content(embeddings, place[rows]) if len(embeddings) else np.arange(0)
        order = order[np.argsort(place[rows][order], kind="stable")]
        return Views(embeddings[order].astype(np.float64), place[rows][order])


def _check_rows(rows: NDArray[np.generic], label_count: int) -> None:
    if len(rows) == 0 or label_count == 0:
        raise InvalidExamples("there are no examples", field="examples", limit=1, value=0)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise InvalidExamples.at(
            "embeddings",
            "{field} have shape {value}, expected {limit}",
            "(n, dim)",
            str(rows.shape),
        )
    if len(rows) != label_count:
        raise InvalidExamples.at(
            "labels", "there are {value} labels for {limit} embeddings", len(rows), label_count
        )
    _check_finite(rows, "embeddings", "embedding")


def _check_finite(rows: NDArray[np.generic], field: str, name: str) -> None:
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InvalidExamples.not_finite(f"{field}[{row}]", f"{name} {row}")


def _check_weights(weights: NDArray[np.float64], n: int) -> None:
    if weights.shape != (n,):
        raise InvalidExamples.at(
            "weights", "{field} have shape {value}, expected {limit}", f"({n},)", str(weights.shape)
        )
    good = np.isfinite(weights) & (weights > 0)
    if not good.all():
        row = int(np.argmin(good))
        raise InvalidExamples(
            f"weight {row} is {weights[row]}, not a positive number",
            field=f"weights[{row}]",
            limit="> 0",
            value=float(weights[row]),
        )


def _by_content(rows: NDArray[np.generic], targets: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return an order by the embeddings' bytes, then by class."""
    contiguous = np.ascontiguousarray(rows)
    content = contiguous.view(f"V{contiguous.itemsize * contiguous.shape[1]}").ravel()
    by_class = np.argsort(targets, kind="stable")
    return by_class[np.argsort(content[by_class], kind="stable")]
