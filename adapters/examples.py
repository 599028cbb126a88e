"""Labelled embeddings, checked and in an order of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adapters.errors import InvalidExamples

MIN_CLASSES = 2
MIN_EXAMPLES_PER_CLASS = 2


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples a head can be learned from.

    Attributes:
        embeddings: float64 of shape (n, dim), all finite.
        targets: class indices of shape (n,).
        labels: one per class, sorted.
    """

    embeddings: NDArray[np.float64]
    targets: NDArray[np.intp]
    labels: tuple[str, ...]

    @property
    def counts(self) -> NDArray[np.intp]:
        """Examples per class; shape (classes,)."""
        return np.bincount(self.targets, minlength=len(self.labels))

    @classmethod
    def of(cls, embeddings: ArrayLike, labels: Sequence[str]) -> Examples:
        """Check examples and sort them by content, so that their order cannot matter.

        Args:
            embeddings: numbers of shape (n, dim).
            labels: one per embedding.

        Raises:
            InvalidExamples: if there are none, shapes differ, a number is not finite, or there
                are fewer than two classes or fewer than two examples in one of them.
        """
        rows = np.asarray(embeddings)
        _check_rows(rows, len(labels))
        names, targets = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
        _check_classes(names, np.bincount(targets))
        order = _by_content(rows, targets)
        return cls(rows[order].astype(np.float64), targets[order], tuple(map(str, names)))


def _check_rows(rows: NDArray[np.generic], label_count: int) -> None:
    if len(rows) == 0 or label_count == 0:
        raise InvalidExamples("there are no examples", field="examples", limit=1, value=0)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise InvalidExamples(
            f"embeddings have shape {rows.shape}, expected (n, dim)",
            field="embeddings",
            limit="(n, dim)",
            value=str(rows.shape),
        )
    if len(rows) != label_count:
        raise InvalidExamples(
            f"there are {label_count} labels for {len(rows)} embeddings",
            field="labels",
            limit=len(rows),
            value=label_count,
        )
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InvalidExamples(
            f"embedding {row} holds a number that is not finite",
            field=f"embeddings[{row}]",
            limit="finite",
            value="nan or infinite",
        )


def _check_classes(names: NDArray[np.object_], counts: NDArray[np.intp]) -> None:
    if len(names) < MIN_CLASSES:
        raise InvalidExamples(
            f"all examples have the label {names[0]!r}, at least {MIN_CLASSES} labels are needed",
            field="labels",
            limit=MIN_CLASSES,
            value=len(names),
        )
    rarest = int(np.argmin(counts))
    if counts[rarest] < MIN_EXAMPLES_PER_CLASS:
        raise InvalidExamples(
            f"label {names[rarest]!r} has {counts[rarest]} example, "
            f"at least {MIN_EXAMPLES_PER_CLASS} are needed",
            field=f"labels[{names[rarest]}]",
            limit=MIN_EXAMPLES_PER_CLASS,
            value=int(counts[rarest]),
        )


def _by_content(rows: NDArray[np.generic], targets: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return an order by the embeddings' bytes, then by class."""
    contiguous = np.ascontiguousarray(rows)
    content = contiguous.view(f"V{contiguous.itemsize * contiguous.shape[1]}").ravel()
    by_class = np.argsort(targets, kind="stable")
    return by_class[np.argsort(content[by_class], kind="stable")]
