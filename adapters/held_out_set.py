"""Measures heads on held-out examples, but for those that they have seen in another form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from adapters.estimate import evaluation
from adapters.groups import Groups
from adapters.head import Head
from adapters.report import Estimate, Evaluation

Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

UNKNOWN_PROBABILITY = 1e-6
"""Of a class that a head does not have: 14 nats for a test example of it, and not infinity."""

SIGNIFICANCE = 2.5758293035489004
"""Standard errors that two accuracies of one head differ by in 1 % of cases."""


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Embeddings of shape (n, dim), and a label and perhaps the name of a group for each."""

    embeddings: NDArray[Any]
    labels: Sequence[str]
    groups: Sequence[str | None] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class HeldOutResult:
    """How a head does on held-out examples.

    Attributes:
        evaluation: on those that it has not seen in another form; None if none remain.
        left_out: rows of the others: near-copies of examples that it was trained on, and members
            of their groups.
    """

    evaluation: Evaluation | None
    left_out: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a dict that `json.dumps` takes."""
        return asdict(self)


def measure(
    head: Head,
    held_out: LabelledRows,
    trained: LabelledRows,
    *,
    features: NDArray[Any] | None = None,
    seed: int = 0,
) -> HeldOutResult | None:
    """Measure a head on held-out examples; None without any.

    Where their label is none of the head's, it cannot be right. Such labels follow the head's as
    classes that are never predicted, with probability `UNKNOWN_PROBABILITY`. The interval is that
    of as many examples as those in groups are worth.

    Args:
        trained: what the head was trained on, embedded like `held_out`.
        features: what the head scores in place of the held-out embeddings, where it runs on a tail.
        seed: of the search for near-copies among very many examples.
    """
    if not len(held_out):
        return None
    seen, groups = _seen(held_out, trained, seed)
    left_out = tuple(np.flatnonzero(seen).tolist())
    rows = np.flatnonzero(~seen).tolist()
    if not rows:
        return HeldOutResult(None, left_out)
    scored = held_out.embeddings if features is None else features
    labels = [held_out.labels[row] for row in rows]
    return HeldOutResult(_evaluate(head, scored[rows], labels, groups[rows]), left_out)


def disagreement(estimate: Estimate | None, test: Estimate | None) -> str | None:
    """Say that a test accuracy differs from the estimate by more than chance explains; else None.

    A z-test of two proportions with a pooled share (Fleiss, Levin and Paik 2003, section 3.2), each
    of as many examples as its own are worth, at 1 %. The estimate's optimism is no surprise.
    """
    if estimate is None or test is None:
        return None
    n, k = estimate.effective_examples, test.effective_examples
    if not n or not k:  # of an earlier release
        return None
    expected = estimate.accuracy - estimate.optimism
    pooled = (expected * n + test.accuracy * k) / (n + k)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / k))
    if abs(expected - test.accuracy) <= SIGNIFICANCE * error:
        return None
    return (
        f"The accuracy on held-out examples, {test.accuracy:.1%}, differs from the estimate, "
        f"{estimate.accuracy:.1%}, by more than chance explains (two proportions, 1 %): they are "
        "other than the examples that were trained on, or these hold copies that were not found."
    )


def _seen(held_out: LabelledRows, trained: LabelledRows, seed: int) -> tuple[Mask, Indices]:
    """Return which held-out examples share a group with a trained one, and the groups of all."""
    labels = [*trained.labels, *held_out.labels]
    targets = np.unique(np.asarray(labels, dtype=object), return_inverse=True)[1]
    names = None
    if trained.groups is not None or held_out.groups is not None:
        names = [*_names(trained), *_names(held_out)]
    embeddings = np.concatenate([trained.embeddings, held_out.embeddings])
    numbers = Groups.find(embeddings, targets, names, seed).numbers
    known, own = numbers[: len(trained)], numbers[len(trained) :]
    return np.isin(own, known), own


def _names(rows: LabelledRows) -> Sequence[str | None]:
    return [None] * len(rows) if rows.groups is None else rows.groups


def _evaluate(
    head: Head, embeddings: NDArray[Any], labels: Sequence[str], groups: Indices
) -> Evaluation:
    logits = head.logits(embeddings)
    unknown = sorted(set(labels) - set(head.labels))
    total = logsumexp(logits / head.temperature, axis=1, keepdims=True)
    never = head.temperature * (total + math.log(UNKNOWN_PROBABILITY))
    logits = np.hstack([logits, np.repeat(never, len(unknown), axis=1)])
    classes = [*head.labels, *unknown]
    index = {label: i for i, label in enumerate(classes)}
    targets = np.array([index[label] for label in labels], dtype=np.intp)
    return evaluation(logits, targets, classes, head.temperature, "held-out", groups)
