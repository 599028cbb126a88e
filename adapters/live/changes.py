"""Changes of a live copy's examples, and checks of what comes with them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from adapters.errors import InvalidArgument, InvalidEmbeddings, InvalidExamples
from adapters.live.learner import Array


@dataclass(frozen=True, eq=False, slots=True)
class Change:
    """An example that comes (no old label), goes (no label), or gets another label (both).

    Attributes:
        embedding: of shape (dim,), as the backbone returned it.
        label: what it is from now on; None if it goes.
        old_label: what it was; None if it comes.
        weight: of the example, positive, without its class's weight.
        old_weight: what it was; None if it was `weight`, too.
    """

    embedding: ArrayLike
    label: str | None
    old_label: str | None = None
    weight: float = 1.0
    old_weight: float | None = None


def check_changes(changes: Sequence[Change], members: Mapping[str, int], dim: int) -> Array:
    """Return the changes' embeddings, of shape (changes, dim).

    Args:
        changes: to check.
        members: number of examples by label before them.
        dim: numbers in one embedding.

    Raises:
        InvalidEmbeddings, InvalidArgument: see `LiveHead.apply`.
    """
    rows = np.empty((len(changes), dim))
    left = Counter(members)
    for number, change in enumerate(changes):
        field = f"changes[{number}]"
        rows[number] = _vector(change.embedding, dim, f"{field}.embedding")
        _check_weight(change.weight, f"{field}.weight")
        if change.old_weight is not None:
            _check_weight(change.old_weight, f"{field}.old_weight")
        if change.label == "" or (change.label is None and change.old_label is None):
            raise InvalidArgument(f"{field} has no label", field=f"{field}.label", limit=1)
        if change.old_label is not None:
            if left[change.old_label] == 0:
                raise InvalidArgument(
                    f"{field} takes out an example of {change.old_label!r}, which has none",
                    field=f"{field}.old_label",
                    limit="a label with examples",
                    value=change.old_label,
                )
            left[change.old_label] -= 1
        if change.label is not None:
            left[change.label] += 1
    return rows


def check_examples(
    embeddings: ArrayLike, labels: Sequence[str], weights: ArrayLike | None, dim: int
) -> tuple[Array, Array]:
    """Return embeddings of shape (n, dim) and weights of shape (n,), 1 each if None.

    Raises:
        InvalidEmbeddings, InvalidExamples: see `live_head`.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    numbers = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise _misshapen("embeddings", f"(n, {dim})", rows.shape)
    if len(rows) != len(labels):
        raise InvalidExamples.at(
            "labels", "there are {value} labels for {limit} embeddings", len(rows), len(labels)
        )
    if not all(labels):
        raise InvalidExamples("labels must not be empty", field="labels", limit=1, value=0)
    if not np.isfinite(rows).all():
        raise InvalidEmbeddings.not_finite(
            f"embeddings[{int(np.argmin(np.isfinite(rows).all(axis=1)))}]"
        )
    if numbers.shape != (len(rows),):
        raise InvalidExamples.at(
            "weights",
            "{field} have shape {value}, expected {limit}",
            f"({len(rows)},)",
            str(numbers.shape),
        )
    for row in np.flatnonzero(~(np.isfinite(numbers) & (numbers > 0)))[:1]:
        _check_weight(float(numbers[row]), f"weights[{row}]")
    return rows, numbers


def _vector(embedding: ArrayLike, dim: int, field: str) -> Array:
    vector = np.asarray(embedding, dtype=np.float64)
    if vector.shape != (dim,):
        raise _misshapen(field, f"({dim},)", vector.shape)
    if not np.isfinite(vector).all():
        raise InvalidEmbeddings.not_finite(field)
    return vector


def _check_weight(weight: float, field: str) -> None:
    if not (math.isfinite(weight) and weight > 0):
        raise InvalidExamples.at(field, "{field} must be positive, is {value}", "> 0", weight)


def _misshapen(field: str, limit: str, shape: tuple[int, ...]) -> InvalidEmbeddings:
    return InvalidEmbeddings(
        f"{field} has shape {shape}, expected {limit}", field=field, limit=limit, value=str(shape)
    )
