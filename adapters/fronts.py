"""What stands between an embedding and a head: standardisation, unit length, random features."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from adapters.errors import InvalidWeights
from adapters.spec import FRONTS, MAX_SEED

Array = NDArray[np.float64]

STANDARDISE, NORMALISE, PROJECTION = FRONTS

PROJECTION_WIDTH = 2048
"""Random features of a new front; RanPAC gains little from more on some thousand examples."""

MAX_WIDTH = 8192
MAX_SIGNS = 2**24
"""Random features of a front at most, and these times the numbers of an embedding: the matrix of
signs is made of a few bytes in a file, and takes 128 MiB then."""

TENSORS = ("front.mean", "front.scale")
"""Names of a front's arrays in a safetensors file."""

METADATA = "front"
"""Name of a front's other fields, as one JSON object, in that file's metadata."""


@dataclass(frozen=True, eq=False)
class Front:
    """Turns embeddings into the features that families see.

    - "standardise": `(embedding - mean) / scale`.
    - "normalise": embeddings are first brought to unit length.
    - "projection": `max(0, standardised @ signs / sqrt(dim)) - 1 / sqrt(2 pi)`, with a seeded
      matrix of random signs (RanPAC, McDonnell et al. 2023, https://arxiv.org/abs/2307.02251;
      signs do as well as Gaussians: Achlioptas 2003, JCSS 66:671). The constant is the mean of a
      standard normal's positive part.

    `scale = sqrt(variance + mean(variance) / 4)`: features that hardly vary are not blown up to the
    size of the others. Mean and scale are rounded to float32 before anything is fitted, so a front
    that is stored and loaded is exactly the one a head was fitted behind.

    Attributes:
        kind: one of `adapters.spec.FRONTS`.
        mean: float32 of shape (dim,).
        scale: float32 of shape (dim,), positive.
        seed: decides the signs of a projection.
        width: number of random features of a projection, else 0.
        unit: whether features are scaled to unit length at the end, so that inner products of two
            are cosines.

    Raises:
        InvalidWeights: if shapes or numbers make no front.
    """

    kind: str
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    seed: int = 0
    width: int = 0
    unit: bool = False

    def __post_init__(self) -> None:
        mean, scale = np.asarray(self.mean), np.asarray(self.scale)
        _expect(self.kind in FRONTS, "kind", ", ".join(FRONTS), str(self.kind))
        _expect(_is_vector(mean), "mean", "float32 (dim,), finite", str(mean.shape))
        good = _is_vector(scale) and scale.shape == mean.shape and bool((scale > 0).all())
        _expect(good, "scale", "float32 (dim,), finite, positive", str(scale.shape))
        _expect(_is_whole(self.seed, 0, MAX_SEED), "seed", f"from 0 to {MAX_SEED}", str(self.seed))
        most = max(1, min(MAX_WIDTH, MAX_SIGNS // len(mean)))
        narrow, wide = (1, most) if self.kind == PROJECTION else (0, 0)
        good = _is_whole(self.width, narrow, wide)
        _expect(good, "width", f"from {narrow} to {wide}", str(self.width))
        _expect(isinstance(self.unit, bool), "unit", "true or false", str(self.unit))
        for name, array in (("mean", mean), ("scale", scale)):
            copy = array.copy()
            copy.setflags(write=False)
            object.__setattr__(self, name, copy)

    @classmethod
    def of(
        cls,
        kind: str,
        embeddings: NDArray[Any],
        weights: Array | None = None,
        seed: int = 0,
        *,
        unit: bool = False,
    ) -> Self:
        """Fit a front.

        Args:
            kind: one of `adapters.spec.FRONTS`.
            embeddings: numbers of shape (n, dim), all finite.
            weights: of shape (n,), positive; 1 each if None.
            seed: decides the signs of a projection.
            unit: whether features are scaled to unit length at the end.
        """
        rows = np.asarray(embeddings, dtype=np.float64)
        if kind == NORMALISE:
            rows = unit_rows(rows)
        shares = np.full(len(rows), 1 / len(rows)) if weights is None else weights / weights.sum()
        mean = (shares @ rows).astype(np.float32)
        variance = np.einsum("n,nd,nd->d", shares, rows, rows, optimize=False)
        centre = shares @ rows
        variance = np.maximum(variance - centre**2, 0.0)
        scale = np.sqrt(variance + variance.mean() / 4).astype(np.float32)
        widest = max(1, min(PROJECTION_WIDTH, MAX_SIGNS // rows.shape[1]))
        width = widest if kind == PROJECTION else 0
        seed = seed if kind == PROJECTION else 0
        return cls(kind, mean, np.where(scale > 0, scale, np.float32(1)), seed, width, unit)

    @property
    def dim(self) -> int:
        """Numbers in one embedding."""
        return len(self.mean)

    @property
    def feature_count(self) -> int:
        """Features of one embedding, the width of a head's weight."""
        return self.width or self.dim

    @property
    def folds(self) -> bool:
        """Whether `fold` leaves nothing to do at prediction: `serve` returns embeddings as is."""
        return self.kind == STANDARDISE and not self.unit

    @property
    def nbytes(self) -> int:
        """Bytes its arrays hold in memory, those made at first use included."""
        return self.mean.nbytes + self.scale.nbytes + 8 * self.dim * self.width

    def warm_up(self) -> None:
        """Make what is otherwise made at first use: a projection's signs, some 10 ms."""
        if self.kind == PROJECTION:
            _ = self.signs

    def features(self, embeddings: NDArray[Any]) -> Array:
        """Return what families see of embeddings (n, dim): float64 of shape (n, feature_count)."""
        rows = np.asarray(embeddings)
        if self.kind == NORMALISE:
            rows = unit_rows(rows.astype(np.float64))
        features: Array = np.subtract(rows, self.mean, dtype=np.float64)
        features /= self.scale
        if self.kind == PROJECTION:
            features = np.maximum(features @ self.signs, 0.0) - 1 / np.sqrt(2 * np.pi)
        return unit_rows(features) if self.unit else features

    def serve(self, embeddings: NDArray[Any]) -> Array:
        """Return what a head's folded weight multiplies; float64 of shape (n, feature_count).

        That is the embeddings themselves, or as much of `features` as no weight can stand for.
        """
        if self.unit or self.kind == PROJECTION:
            return self.features(embeddings)
        rows = np.asarray(embeddings, dtype=np.float64)
        return unit_rows(rows) if self.kind == NORMALISE else rows

    def fold(self, weight: Array, bias: Array) -> tuple[Array, Array]:
        """Rewrite a weight (classes, feature_count) and bias (classes,) for `serve`."""
        if self.unit or self.kind == PROJECTION:
            return weight, bias
        raw = weight / self.scale
        return raw, bias - raw @ self.mean

    def unfold(self, weight: Array, bias: Array) -> tuple[Array, Array]:
        """Rewrite a weight and bias for what `serve` returns for `features`: undo `fold`."""
        if self.unit or self.kind == PROJECTION:
            return weight, bias
        return weight * self.scale, bias + weight @ self.mean

    def resembles(self, other: Front) -> bool:
        """Return whether `serve` of both returns the same, so that one's weights suit the other."""
        if self.unit or self.kind == PROJECTION:
            same = np.array_equal(self.mean, other.mean) and np.array_equal(self.scale, other.scale)
        else:
            same = len(self.mean) == len(other.mean)
        mine, others = ((f.kind, f.seed, f.width, f.unit) for f in (self, other))
        return same and mine == others

    def to_tensors(self) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
        """Return tensors and metadata for a safetensors file; `from_tensors` reads them back."""
        fields = {"kind": self.kind, "seed": self.seed, "width": self.width, "unit": self.unit}
        return dict(zip(TENSORS, (self.mean, self.scale), strict=True)), {
            METADATA: json.dumps(fields)
        }

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
    ) -> Self | None:
        """Read what `to_tensors` returned; None if there is nothing of a front.

        Raises:
            InvalidWeights: if there is part of one only, or its fields make none.
        """
        if METADATA not in metadata and not any(name in tensors for name in TENSORS):
            return None
        for name in TENSORS:
            _expect(name in tensors, name.removeprefix("front."), "present", "missing")
        try:
            fields = json.loads(metadata.get(METADATA, ""))
            front = cls(mean=tensors[TENSORS[0]], scale=tensors[TENSORS[1]], **fields)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidWeights("metadata 'front' describes no front", field="front") from error
        return front

    @cached_property
    def signs(self) -> Array:
        """Random signs over sqrt(dim), of shape (dim, width), the same on every machine."""
        count = self.dim * self.width
        seed = self.seed.to_bytes(8, "little")
        stream = np.frombuffer(hashlib.shake_256(seed).digest((count + 7) // 8), np.uint8)
        bits = np.unpackbits(stream, count=count).reshape(self.dim, self.width)
        signs: Array = (bits * 2.0 - 1.0) / np.sqrt(self.dim)
        return signs


def unit_rows(rows: Array) -> Array:
    """Scale rows to unit length; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Array = rows / np.where(lengths > 0, lengths, 1.0)
    return scaled


def _is_vector(array: NDArray[Any]) -> bool:
    good = array.ndim == 1 and len(array) > 0 and array.dtype == np.float32
    return good and bool(np.isfinite(array).all())


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _expect(good: bool, name: str, limit: str, value: str) -> None:
    if not good:
        raise InvalidWeights(
            f"the front's {name} must be {limit}, is {value[:64]}",
            field=f"front.{name}",
            limit=limit,
            value=value[:64],
        )
