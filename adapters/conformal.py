"""Sets of classes that hold the right one with a probability the caller names.

Cross-conformal prediction (Vovk et al. 2005; Vovk 2015, https://arxiv.org/abs/1208.0806; an
introduction is Angelopoulos and Bates 2021, https://arxiv.org/abs/2107.07511) with the least
ambiguous sets of Sadinle, Lei and Wasserman (2019, JASA 114:223): those classes whose probability
is high enough. Scores of n examples come from models that had not seen them. A set takes the
classes whose score is at most the ceil((n + 1) level)-th smallest of those.

Were the scores from the very model that answers, coverage would be between `level` and
`level + 1 / (n + 1)` on average over draws of the examples, whatever the distribution. As they come
from models fitted without a fold each, this holds as nearly as those models are like the
final one; proven without that assumption is only 1 - 2 (1 - level), roughly (Barber et al. 2021,
https://arxiv.org/abs/1905.02928). A set may be empty: then no class is likely enough.

Where examples come in groups, n is the number of groups, and the promise is for an input of a fresh
one. It is made for inputs of classes that were held out: of one that lies in a single group nothing
is known, and how often sets hold it is open.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adapters.errors import InvalidArgument
from adapters.weights_file import POSITIVE, expect, is_positive, parse_object

MAX_SCORES = 1000

TENSOR = "conformal.scores"
"""Name of the quantiles in a safetensors file."""

METADATA = "conformal"
"""Name of the other fields, as one JSON object, in that file's metadata."""

_SHARPNESSES = (1.0, 1 / 3, 3.0)
"""In units of 1 / temperature. More of them would hardly make smaller sets, and the luckiest of
many covers less than it seems to."""

_LEVELS = (0.8, 0.9, 0.95)
_MAX_FITTED = 2000


@dataclass(frozen=True, eq=False)
class Conformal:
    """Quantiles of the scores of right classes, and the sharpness they are taken at.

    The score of a class is -log of its probability, softmax(sharpness * logits). It orders classes
    as one minus the probability does, and keeps its precision where that is next to nothing.
    The sharpness is not the head's 1 / temperature: scaling that calibrates tends to make sets
    larger (Xi et al. 2024, https://arxiv.org/abs/2402.05806), so it is chosen for small sets.

    Attributes:
        scores: float32 of shape (k,), sorted; k from 1 to 1000. The i-th (from 1 on) is not
            exceeded with probability i / (k + 1). Copied and made read-only.
        sharpness: positive; multiplies the logits.

    Raises:
        InvalidWeights: if these are no quantiles.
    """

    scores: NDArray[np.float32]
    sharpness: float

    def __post_init__(self) -> None:
        scores = np.array(self.scores, dtype=np.float32)
        sizes = scores.ndim == 1 and 1 <= len(scores) <= MAX_SCORES
        expect(sizes, "conformal.scores", f"of shape (1 to {MAX_SCORES},)", scores.shape)
        with np.errstate(invalid="ignore"):
            sorted_ = np.isfinite(scores).all() and (np.diff(scores) >= 0).all()
        expect(bool(sorted_), "conformal.scores", "finite and sorted", "others")
        expect(is_positive(self.sharpness), "conformal.sharpness", POSITIVE, self.sharpness)
        scores.setflags(write=False)
        object.__setattr__(self, "scores", scores)

    @classmethod
    def of(
        cls,
        logits: NDArray[np.float64],
        targets: NDArray[np.intp],
        temperature: float,
        groups: NDArray[np.intp] | None = None,
    ) -> Self:
        """Fit to held-out logits.

        The sharpness is the one of three around 1 / temperature whose sets are smallest on
        average over the levels 80, 90 and 95 %.

        Args:
            logits: of shape (n, classes), n at least 1, of examples their models had not seen.
            targets: class indices of shape (n,).
            temperature: that calibrates them.
            groups: the group of each example, of shape (n,); None if they are independent. All
                groups count alike, however large.
        """
        few = np.linspace(0, len(targets) - 1, min(len(targets), _MAX_FITTED)).astype(np.intp)
        sizes = [_mean_size(logits[few], targets[few], s / temperature) for s in _SHARPNESSES]
        sharpness = _SHARPNESSES[int(np.argmin(sizes))] / temperature
        right = _scores(logits, sharpness)[np.arange(len(targets)), targets]
        if groups is not None:
            right = _by_group(right, groups)
        return cls(_quantiles(np.sort(right)).astype(np.float32), sharpness)

    @property
    def nbytes(self) -> int:
        """Bytes it holds in memory."""
        return self.scores.nbytes

    def sets(self, logits: ArrayLike, level: float) -> NDArray[np.bool_]:
        """Return which classes are in each row's set; shape (n, classes).

        Args:
            logits: of shape (n, classes).
            level: probability that a set holds the right class. Above k / (k + 1) every set
                holds all classes: there were too few examples to exclude any.

        Raises:
            InvalidArgument: if the level is not above 0 and below 1.
        """
        highest = self._threshold(level)
        rows = np.asarray(logits, dtype=np.float64)
        if highest is None:
            return np.ones(rows.shape, dtype=np.bool_)
        with np.errstate(over="ignore"):  # infinite is unlikely enough
            scores = _scores(rows, self.sharpness).astype(np.float32)
        return np.asarray(scores <= highest)

    def has_one_class(
        self, probabilities: NDArray[np.float32], temperature: float, level: float
    ) -> bool:
        """Return whether a row's set has exactly one class; in a few microseconds.

        Args:
            probabilities: of shape (classes,), softmax(logits / temperature).
            level: as of `sets`, which says the same up to the rounding of the probabilities.

        Raises:
            InvalidArgument: as `sets` does.
        """
        highest = self._threshold(level)
        if highest is None:
            return len(probabilities) == 1
        first = int(probabilities.argmax())
        # exp(sharpness * (logit - highest logit)), without the highest one itself
        odds = (probabilities / probabilities[first]) ** (self.sharpness * temperature)
        odds[first] = 0.0
        second = float(odds.max())
        lowest = math.log1p(float(odds.sum()))
        one = np.float32(lowest) <= highest
        return bool(one and (second == 0.0 or np.float32(lowest - math.log(second)) > highest))

    def _threshold(self, level: float) -> np.float32 | None:
        """Return the highest score of a class in a set at this level; None if all classes are."""
        if not 0 < level < 1:
            raise InvalidArgument.at(
                "level", "level must be above 0 and below 1, is {value}", "above 0, below 1", level
            )
        rank = _rank(level, len(self.scores))
        return None if rank > len(self.scores) else self.scores[rank - 1]

    def to_tensors(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Return tensors and metadata for a safetensors file; `from_tensors` reads them back."""
        return {TENSOR: self.scores}, {METADATA: json.dumps({"sharpness": self.sharpness})}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
    ) -> Self | None:
        """Read what `to_tensors` returned; None if there is nothing of it.

        Raises:
            InvalidWeights: if there is a part only, or its fields make none.
        """
        if METADATA not in metadata and TENSOR not in tensors:
            return None
        expect(TENSOR in tensors, TENSOR, "present", "missing")
        fields: Any = parse_object(metadata, METADATA)
        return cls(tensors[TENSOR], fields.get("sharpness"))


def _scores(logits: NDArray[np.float64], sharpness: float) -> NDArray[np.float64]:
    """Return -log softmax(sharpness * logits), accurate also for probabilities next to one."""
    below = sharpness * (logits - logits.max(axis=1, keepdims=True))
    odds = np.exp(below)
    rows = np.arange(len(below))
    odds[rows, below.argmax(axis=1)] = 0.0
    scores: NDArray[np.float64] = np.log1p(odds.sum(axis=1, keepdims=True)) - below
    return scores


def _rank(level: float, n: int) -> int:
    """Return which of n sorted scores a fresh one does not exceed at that level, from 1 on."""
    return max(1, math.ceil(level * (n + 1) - 1e-9))


def _quantiles(ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thin sorted scores out to at most 1000, on the safe side by at most a thousandth."""
    n = len(ordered)
    if n <= MAX_SCORES:
        return ordered
    levels = np.arange(1, MAX_SCORES + 1) / (MAX_SCORES + 1)
    return ordered[np.ceil(levels * (n + 1) - 1e-9).astype(np.intp) - 1]


def _by_group(scores: NDArray[np.float64], groups: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return as many scores as there are groups, such that quantiles are those of a fresh group.

    A group's examples share its weight: the i-th of g scores is the smallest that a share of
    i / g of the weight does not exceed (Lee, Barber and Willett 2023,
    https://arxiv.org/abs/2306.06342). Without groups of several examples they are the scores.
    """
    _, own, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1 / sizes[own][order])
    wanted = np.arange(1, len(sizes) + 1) - 1e-9
    found: NDArray[np.float64] = scores[order][np.searchsorted(reached, wanted)]
    return found


def _mean_size(logits: NDArray[np.float64], targets: NDArray[np.intp], sharpness: float) -> float:
    """Return the mean number of classes in a set, over rows and levels."""
    scores = _scores(logits, sharpness)
    right = np.sort(scores[np.arange(len(targets)), targets])
    ranks = [min(_rank(level, len(right)), len(right)) for level in _LEVELS]
    return float(np.mean([np.count_nonzero(scores <= right[rank - 1]) for rank in ranks]))
