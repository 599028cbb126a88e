"""Heads to start from, and what their live copies have to equal."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters import Head
from adapters.fronts import Front
from tests.adapters.data import Embeddings

Array = NDArray[np.float64]

EXACT = ("ridge", "lda", "prototype")
TOLERANCE = 1e-6

families = pytest.mark.parametrize("family", EXACT)
all_families = pytest.mark.parametrize("family", [*EXACT, "logistic"])


def version(
    family: str,
    embeddings: Embeddings,
    *,
    l2: float = 3.0,
    kind: str = "standardise",
    class_weights: Mapping[str, float] | None = None,
) -> Head:
    """A head to move on from; of its weights a live copy makes no use."""
    front = Front.of(kind, embeddings, seed=5, unit=family == "prototype")
    return Head(
        family=family,
        labels=("a", "b"),
        weight=np.zeros((2, front.feature_count), np.float32),
        bias=np.zeros(2, np.float32),
        fingerprint="f00d",
        temperature=0.7,
        l2=None if family == "prototype" else l2,
        front=front,
        class_weights=class_weights or {},
    )


def assert_same(head: Head, other: Head, tolerance: float = TOLERANCE) -> None:
    """Check labels and, relative to their size, weights and biases."""
    assert head.labels == other.labels
    for name in ("weight", "bias"):
        one, two = (getattr(h, name).astype(np.float64) for h in (head, other))
        assert np.abs(one - two).max() <= tolerance * max(np.abs(two).max(), 1e-3), name
