"""A fit's task and result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import adapters


@dataclass(frozen=True, slots=True)
class FitTask:
    """What a fit needs.

    Attributes:
        embeddings: float32, shape (n, dim).
        labels: one per embedding.
        weights: float64, shape (n,); None weighs all alike.
        views: float32, shape (m, dim): view i is one of example `view_rows[i]`; None for none.
        view_rows: int64, shape (m,).
        start: the safetensors file of a head to begin from; None for none.
        test_embeddings: float32, shape (k, dim), to measure the head on; None for none.
        test_labels: one per embedding to measure on.
        groups: what each example belongs to; None if none of them belongs to anything.
    """

    embeddings: NDArray[np.float32]
    labels: Sequence[str]
    spec: adapters.HeadSpec
    fingerprint: str
    weights: NDArray[np.float64] | None = None
    views: NDArray[np.float32] | None = None
    view_rows: NDArray[np.int64] | None = None
    start: bytes | None = None
    test_embeddings: NDArray[np.float32] | None = None
    test_labels: Sequence[str] = ()
    groups: Sequence[str | None] | None = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns all that is sent as raw bytes, by the name of its field."""
        start = None if self.start is None else np.frombuffer(self.start, dtype=np.uint8)
        arrays = {
            "embeddings": self.embeddings,
            "weights": self.weights,
            "views": self.views,
            "view_rows": self.view_rows,
            "start": start,
            "test_embeddings": self.test_embeddings,
        }
        return {name: array for name, array in arrays.items() if array is not None}


@dataclass(frozen=True, slots=True)
class FittedHead:
    """The result of a fit.

    Attributes:
        report: `adapters.Report` as JSON; examples are named by their row.
        test: `adapters.Evaluation` on the test examples as JSON; None without any.
        cpu_seconds: processor time of the fit.
    """

    labels: tuple[str, ...]
    report: dict[str, Any]
    test: dict[str, Any] | None
    cpu_seconds: float
    safetensors: bytes
