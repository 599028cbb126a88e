"""A fit's task and result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import adapters
from adapters.held_out_set import LabelledRows


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
        groups: what each example belongs to; None if none of them belongs to anything.
        held_out: what to measure the head on.
    """

    embeddings: NDArray[np.float32]
    labels: Sequence[str]
    spec: adapters.HeadSpec
    fingerprint: str
    weights: NDArray[np.float64] | None = None
    views: NDArray[np.float32] | None = None
    view_rows: NDArray[np.int64] | None = None
    start: bytes | None = None
    groups: Sequence[str | None] | None = None
    held_out: LabelledRows | None = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns all that is sent as raw bytes, by the name of its field."""
        start = None if self.start is None else np.frombuffer(self.start, dtype=np.uint8)
        arrays = {
            "embeddings": self.embeddings,
            "weights": self.weights,
            "views": self.views,
            "view_rows": self.view_rows,
            "start": start,
            "held_out": None if self.held_out is None else self.held_out.embeddings,
        }
        return {name: array for name, array in arrays.items() if array is not None}


@dataclass(frozen=True, slots=True)
class FittedHead:
    """The result of a fit.

    Attributes:
        report: `adapters.Report` as JSON; examples are named by their row.
        held_out: `adapters.HeldOutResult` as JSON; None where nothing was held out.
        cpu_seconds: processor time of the fit.
    """

    labels: tuple[str, ...]
    report: dict[str, Any]
    held_out: dict[str, Any] | None
    cpu_seconds: float
    safetensors: bytes
