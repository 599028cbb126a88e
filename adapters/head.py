"""A trained head: one weight vector and one bias per class, and what surrounds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import safetensors.numpy
from numpy.typing import ArrayLike, NDArray

from adapters.conformal import Conformal
from adapters.errors import InvalidEmbeddings, InvalidWeights, UnknownLabel
from adapters.fronts import Front
from adapters.novelty import NoveltyBank
from adapters.weights_file import (
    POSITIVE,
    expect,
    is_positive,
    is_text,
    parse,
    parse_labels,
    parse_number,
    parse_object,
)

FORMAT_VERSION = "1"
IMPORTED = "imported"
"""Family of a head whose weights were trained elsewhere and that does not say otherwise."""


@dataclass(frozen=True, eq=False)
class Head:
    """Scores embeddings: `softmax((weight @ front.serve(embedding) + bias) / temperature)`.

    Without a front, or with a plain standardisation, which weight and bias contain, `weight`
    multiplies the embedding itself. Arrays are copied, converted and made read-only, so a head
    never changes.

    Attributes:
        family: name of the family that trained it, or "imported".
        labels: one per class, unique, in the order of the rows of `weight`.
        weight: float32 of shape (classes, features); features are what `front.serve` returns, or
            the dim numbers of the raw embedding.
        bias: float32 of shape (classes,).
        fingerprint: of the backbone whose embeddings it understands.
        temperature: positive; divides the logits before the softmax.
        l2: strength of the penalty it was trained with, None if unknown or without one.
        front: what it was trained behind, None if unknown.
        class_weights: what examples of a class counted in its training; 1 for labels not named.
        novelty: recognises what is like none of its examples, if it was asked to.
        conformal: makes sets of classes of its logits; None where it was never estimated.

    Raises:
        InvalidWeights: if shapes, labels or numbers do not make a head.
    """

    family: str
    labels: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    fingerprint: str
    temperature: float = 1.0
    l2: float | None = None
    front: Front | None = None
    class_weights: Mapping[str, float] = field(default_factory=dict)
    novelty: NoveltyBank | None = None
    conformal: Conformal | None = None

    def __post_init__(self) -> None:
        weight, bias = _finite(self.weight, "weight", 2), _finite(self.bias, "bias", 1)
        classes, dim = weight.shape
        if classes < 2 or dim < 1:
            raise InvalidWeights(
                f"weight has shape {weight.shape}, a head needs 2 classes and 1 dimension at least",
                field="weight",
                limit="(>= 2, >= 1)",
                value=str(weight.shape),
            )
        _expect_count("bias", len(bias), classes)
        _expect_count("labels", len(self.labels), classes)
        if not all(map(is_text, self.labels)):
            raise InvalidWeights(
                "labels must be non-empty strings of valid Unicode", field="labels", limit="text"
            )
        if len(set(self.labels)) < classes:
            twice = next(label for label in self.labels if self.labels.count(label) > 1)
            raise InvalidWeights.at(
                "labels", "label {value!r} stands for more than one class", "unique", twice
            )
        _expect_positive("temperature", self.temperature)
        if self.l2 is not None:
            _expect_positive("l2", self.l2)
        for label, value in self.class_weights.items():
            expect(is_text(label), "class_weights", "by labels of valid Unicode", label)
            expect(is_positive(value), f"class_weights[{label[:64]}]", POSITIVE, value)
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)
        object.__setattr__(self, "class_weights", MappingProxyType(dict(self.class_weights)))
        if self.front is not None:
            features = self.front.feature_count
            expect(weight.shape[1] == features, "weight", f"(classes, {features})", weight.shape)
        if self.novelty is not None:
            shape = self.novelty.bank.shape
            expect(shape[1] == self.dim, "novelty.bank", f"of shape (m, {self.dim})", shape)

    @property
    def dim(self) -> int:
        """Numbers in one embedding."""
        return self.front.dim if self.front is not None else int(self.weight.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes its arrays and labels hold in memory, for caches that are bounded in bytes."""
        labels = sum(len(label.encode()) for label in (*self.labels, *self.class_weights))
        parts = (self.front, self.novelty, self.conformal)
        held = sum(part.nbytes for part in parts if part is not None)
        return 3 * self.weight.nbytes + self.bias.nbytes + labels + held  # float32 and float64

    def warm_up(self) -> None:
        """Compute what the first prediction would otherwise compute, so that it is like others.

        Worth it off an event loop for heads behind a projection (some 20 ms); next to nothing for
        others, and nothing the second time. Safe to call from any thread.
        """
        _ = self._weight64
        if self.front is not None:
            self.front.warm_up()
        if self.novelty is not None:
            self.novelty.warm_up()

    def logits(self, embeddings: ArrayLike) -> NDArray[np.float64]:
        """Score embeddings of shape (n, dim); returns raw scores of shape (n, classes).

        Computed in float64, so that a row's scores do not depend on its neighbours and the
        largest float32 does not overflow.

        Raises:
            InvalidEmbeddings: if the shape is not (n, dim) or a number is not finite.
        """
        rows = np.asarray(embeddings, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise InvalidEmbeddings(
                f"embeddings have shape {rows.shape}, the head expects (n, {self.dim})",
                field="embeddings",
                limit=f"(n, {self.dim})",
                value=str(rows.shape),
            )
        # A number that is not finite cannot but show in the scores, and they are far fewer.
        with np.errstate(invalid="ignore"):
            features = rows if self._is_linear else self._front_features(rows)
            scores: NDArray[np.float64] = features @ self._weight64 + self.bias
        if not np.isfinite(scores).all():
            row = int(np.argmin(np.isfinite(rows).all(axis=1)))
            raise InvalidEmbeddings.not_finite(f"embeddings[{row}]", f"embedding {row}")
        return scores

    def probabilities(self, embeddings: ArrayLike) -> NDArray[np.float32]:
        """Return calibrated probabilities of shape (n, classes); each row sums to one.

        Raises:
            InvalidEmbeddings: as `logits` does.
        """
        scores = self.logits(embeddings)
        scores -= scores.max(axis=1, keepdims=True)
        odds = np.exp(scores / self.temperature)
        odds /= odds.sum(axis=1, keepdims=True)
        return odds.astype(np.float32)

    def class_indices(self, labels: Sequence[str]) -> NDArray[np.intp]:
        """Return the row of `weight` for each label; shape (n,).

        Raises:
            UnknownLabel: for the first label that the head does not have.
        """
        unknown = next((label for label in labels if label not in self._index), None)
        if unknown is not None:
            raise UnknownLabel(
                f"label {unknown!r} is none of the head's {len(self.labels)} labels",
                field="label",
                limit=len(self.labels),
                value=unknown,
            )
        return np.array([self._index[label] for label in labels], dtype=np.intp)

    def to_safetensors(self) -> bytes:
        """Return a safetensors file that `from_safetensors` reads back bit by bit."""
        metadata = {
            "format_version": FORMAT_VERSION,
            "family": self.family,
            "labels": json.dumps(self.labels, ensure_ascii=False),
            "fingerprint": self.fingerprint,
            "temperature": repr(float(self.temperature)),
        }
        if self.l2 is not None:
            metadata["l2"] = repr(float(self.l2))
        if self.class_weights:
            weights = dict(self.class_weights)
            metadata["class_weights"] = json.dumps(weights, ensure_ascii=False)
        tensors: dict[str, NDArray[Any]] = {"weight": self.weight, "bias": self.bias}
        for part in (self.front, self.novelty, self.conformal):
            if part is not None:
                arrays, fields = part.to_tensors()
                tensors |= arrays
                metadata |= fields
        return safetensors.numpy.save(tensors, metadata=metadata)

    @classmethod
    def from_safetensors(
        cls,
        data: bytes,
        *,
        labels: Sequence[str] | None = None,
        fingerprint: str | None = None,
        dim: int | None = None,
    ) -> Self:
        """Read a head from a safetensors file, its own or one made elsewhere.

        Needed are float32 or float64 tensors "weight" of shape (classes, dim) and "bias" of shape
        (classes,). Metadata may hold "labels" (a JSON list of strings), "fingerprint", "family",
        "temperature" and "l2"; what else is known there and among tensors are the parts that
        `to_safetensors` writes. Other metadata is ignored, other tensors are refused.

        Args:
            data: the whole file.
            labels: one per class; take the place of those in the metadata.
            fingerprint: of the backbone; must equal that in the metadata, where there is one.
            dim: numbers in one embedding of that backbone; checked if given.

        Raises:
            InvalidWeights: if the file is malformed or its content makes no head.
        """
        tensors, metadata = parse(data)
        own = metadata.get("fingerprint")
        if own and fingerprint and own != fingerprint:
            raise InvalidWeights(
                f"the head belongs to backbone {own}, not to {fingerprint}",
                field="fingerprint",
                limit=fingerprint,
                value=own,
            )
        if not (own or fingerprint):
            raise InvalidWeights("the backbone's fingerprint is missing", field="fingerprint")
        head = cls(
            family=metadata.get("family") or IMPORTED,
            labels=tuple(labels) if labels else parse_labels(metadata),
            weight=tensors["weight"],
            bias=tensors["bias"],
            fingerprint=fingerprint or own or "",
            temperature=parse_number(metadata, "temperature", "1"),
            l2=parse_number(metadata, "l2") if "l2" in metadata else None,
            front=Front.from_tensors(tensors, metadata),
            class_weights=_parse_class_weights(metadata),
            novelty=NoveltyBank.from_tensors(tensors, metadata),
            conformal=Conformal.from_tensors(tensors, metadata),
        )
        if dim is not None and head.dim != dim:
            raise InvalidWeights(
                f"weight is for embeddings of {head.dim} numbers, the backbone's have {dim}",
                field="weight",
                limit=dim,
                value=head.dim,
            )
        return head

    def _front_features(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what `weight` multiplies; not finite where the rows are not."""
        assert self.front is not None
        features = self.front.serve(rows)
        features[~np.isfinite(rows).all(axis=1)] = np.nan
        return features

    @cached_property
    def _is_linear(self) -> bool:
        return self.front is None or self.front.folds

    @cached_property
    def _weight64(self) -> NDArray[np.float64]:
        return np.ascontiguousarray(self.weight.T, dtype=np.float64)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.labels)}


def _finite(array: ArrayLike, name: str, axes: int) -> NDArray[np.float32]:
    """Return a read-only float32 copy with that many axes and nothing infinite or NaN in it."""
    with np.errstate(over="ignore"):
        copy = np.array(array, dtype=np.float32, order="C")
    if copy.ndim != axes:
        raise InvalidWeights(
            f"{name} has shape {copy.shape}, expected {axes} axes",
            field=name,
            limit=axes,
            value=copy.ndim,
        )
    if not np.isfinite(copy).all():
        raise InvalidWeights(
            f"{name} holds a number that is not a finite float32", field=name, limit="finite"
        )
    copy.setflags(write=False)
    return copy


def _parse_class_weights(metadata: Mapping[str, str]) -> dict[str, float]:
    return parse_object(metadata, "class_weights") if "class_weights" in metadata else {}


def _expect_count(name: str, count: int, classes: int) -> None:
    if count != classes:
        raise InvalidWeights.at(
            name, "{field} has {value} entries, weight has {limit} classes", classes, count
        )


def _expect_positive(name: str, value: float) -> None:
    expect(is_positive(value), name, POSITIVE, value)
