"""Recognising embeddings that are like none of the examples.

Distance to the k-th nearest of the kept, unit-length training embeddings (Sun et al. 2022,
https://arxiv.org/abs/2204.06507). The threshold comes from examples that are not kept, by split
conformal prediction (Vovk et al. 2005; Angelopoulos and Bates 2021,
https://arxiv.org/abs/2107.07511): with m of them, it is their ceil((1 - rate) (m + 1))-th smallest
distance, so that a fresh input of the same kind exceeds it with a probability of at most `rate`
and at least `rate - 1 / (m + 1)`, whatever the distribution.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adapters.spec import NoveltySpec
from adapters.weights_file import expect, is_positive, parse_object

MAX_KEPT_PER_CLASS = 64
MAX_CALIBRATION = 2000
"""Examples the threshold is taken from, at most; more would hardly move it."""

MAX_NEIGHBOUR = 64
TENSOR = "novelty.bank"
"""Name of a bank's array in a safetensors file."""

METADATA = "novelty"
"""Name of a bank's other fields, as one JSON object, in that file's metadata."""

MIN_THRESHOLD = 1e-3
"""Distances below it are rounding noise: kept embeddings are rounded to float16."""

MAX_THRESHOLD = 2.0
"""No two unit vectors are farther apart."""

_NEIGHBOUR = 1
"""The nearest one: farther ones recognised fewer strangers on sets of few hundred examples."""
_UNIT_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class NoveltyBank:
    """Kept embeddings, and the distance from them beyond which an input is novel.

    Attributes:
        bank: float16 of shape (m, dim), unit vectors. Copied and made read-only.
        neighbour: which nearest one of them counts, from 1 to m.
        threshold: the distance, from `MIN_THRESHOLD` to `MAX_THRESHOLD`.
        abstain: whether novel rows are to get no answer.
        false_alarm_rate: share of ordinary inputs that may be called novel.

    Raises:
        InvalidWeights: if these make no bank.
    """

    bank: NDArray[np.float16]
    neighbour: int
    threshold: float
    abstain: bool
    false_alarm_rate: float

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):
            bank = np.array(self.bank, dtype=np.float16, order="C")
        expect(bank.ndim == 2 and bank.size > 0, "novelty.bank", "shape (>= 1, >= 1)", bank.shape)
        lengths = np.linalg.norm(bank.astype(np.float32), axis=1)
        unit = bool((np.abs(lengths - 1) <= _UNIT_TOLERANCE).all())
        expect(unit, "novelty.bank", "unit vectors", "other vectors")
        most = min(len(bank), MAX_NEIGHBOUR)
        whole = isinstance(self.neighbour, int) and not isinstance(self.neighbour, bool)
        good = whole and 1 <= self.neighbour <= most
        expect(good, "novelty.neighbour", f"from 1 to {most}", self.neighbour)
        good = is_positive(self.threshold) and MIN_THRESHOLD <= self.threshold <= MAX_THRESHOLD
        limit = f"from {MIN_THRESHOLD:g} to {MAX_THRESHOLD:g}"
        expect(good, "novelty.threshold", limit, self.threshold)
        expect(isinstance(self.abstain, bool), "novelty.abstain", "true or false", self.abstain)
        good = is_positive(self.false_alarm_rate) and self.false_alarm_rate < 1
        expect(good, "novelty.false_alarm_rate", "above 0, below 1", self.false_alarm_rate)
        bank.setflags(write=False)
        object.__setattr__(self, "bank", bank)

    @classmethod
    def of(
        cls,
        embeddings: NDArray[np.floating],
        targets: NDArray[np.intp],
        spec: NoveltySpec,
        seed: int,
        groups: NDArray[np.intp] | None = None,
    ) -> Self | None:
        """Choose embeddings to keep and a threshold.

        One half of the examples (2000 at most), drawn at random, calibrates; of the other half
        up to 64 a class, drawn at random, are kept. Of examples in groups, one each of half of the
        groups calibrates, and what is kept is of the others: an example that is as near as its copy
        says nothing of new inputs.

        Args:
            embeddings: of shape (n, dim), as the backbone returned them.
            targets: class indices of shape (n,).
            spec: the false alarm rate, and whether to abstain.
            seed: of the draw.
            groups: the group of each example, of shape (n,); None if they are independent.

        Returns:
            The bank, or None where the examples are too few for the rate: it takes
            1 / rate - 1 of them to calibrate (19 for 5 %), and as many again to keep. Embeddings
            of zeros only have no direction and are left out.
        """
        directed = np.flatnonzero(np.linalg.norm(embeddings, axis=1) > 0)
        shuffled = np.random.default_rng(seed).permutation(directed)
        own = shuffled if groups is None else groups[shuffled]
        first = np.sort(np.unique(own, return_index=True)[1])
        count = min(len(first) // 2, MAX_CALIBRATION)
        rank = math.ceil((1 - spec.false_alarm_rate) * (count + 1))
        if rank > count:
            return None
        fresh = shuffled[first[:count]]
        rest = shuffled[~np.isin(own, own[first[:count]])]
        kept = rest[_rank_in_class(targets[rest]) < MAX_KEPT_PER_CLASS]
        bank = unit(embeddings[kept]).astype(np.float16)
        neighbour = min(_NEIGHBOUR, len(bank))
        draft = cls(bank, neighbour, 1.0, spec.abstain, spec.false_alarm_rate)
        distances = np.sort(draft.scores(embeddings[fresh]))
        threshold = min(max(float(distances[rank - 1]), MIN_THRESHOLD), MAX_THRESHOLD)
        return cls(bank, neighbour, threshold, spec.abstain, spec.false_alarm_rate)

    @property
    def nbytes(self) -> int:
        """Bytes it holds in memory."""
        return 3 * self.bank.nbytes  # float16 and float32

    def warm_up(self) -> None:
        """Compute what the first use would otherwise compute."""
        _ = self._columns

    def scores(self, embeddings: ArrayLike) -> NDArray[np.float32]:
        """Return the distance of embeddings (n, dim) in units of the threshold; shape (n,).

        Above 1, an embedding is novel. One of zeros only has the distance sqrt(2), as if it stood
        at a right angle to all others.
        """
        cosines = unit(np.asarray(embeddings)) @ self._columns
        nearest = cosines.shape[1] - self.neighbour
        cosine = np.partition(cosines, nearest, axis=1)[:, nearest]
        distances = np.sqrt(np.maximum(2 - 2 * cosine, 0))
        return np.asarray(distances / self.threshold, dtype=np.float32)

    def to_tensors(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Return tensors and metadata for a safetensors file; `from_tensors` reads them back."""
        fields = {
            "neighbour": self.neighbour,
            "threshold": self.threshold,
            "abstain": self.abstain,
            "false_alarm_rate": self.false_alarm_rate,
        }
        return {TENSOR: self.bank}, {METADATA: json.dumps(fields)}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
    ) -> Self | None:
        """Read what `to_tensors` returned; None if there is nothing of a bank.

        Raises:
            InvalidWeights: if there is part of one only, or its fields make none.
        """
        if METADATA not in metadata and TENSOR not in tensors:
            return None
        expect(TENSOR in tensors, TENSOR, "present", "missing")
        fields: Any = parse_object(metadata, METADATA)
        return cls(
            tensors[TENSOR],
            *(fields.get(n) for n in ("neighbour", "threshold", "abstain", "false_alarm_rate")),
        )

    @cached_property
    def _columns(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(unit(self.bank.astype(np.float32)).T)


def unit(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale embeddings (n, dim) to unit length; those of zeros only stay as they are."""
    rows = embeddings.astype(np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    rows /= np.where(largest > 0, largest, 1)  # their squares must not overflow
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1)
    return rows.astype(np.float32)


def _rank_in_class(targets: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return how many earlier examples have each example's class; shape (n,)."""
    order = np.argsort(targets, kind="stable")
    ordered = targets[order]
    first = np.searchsorted(ordered, ordered)
    ranks = np.empty(len(targets), dtype=np.intp)
    ranks[order] = np.arange(len(targets)) - first
    return ranks
