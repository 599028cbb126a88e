"""A fit's task and result, and how they are sent and stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import adapters
from adapters.examples import Views
from adapters.held_out_set import HeldOutResult, LabelledRows
from service.subprocesses import frames


@dataclass(frozen=True, slots=True)
class FitTask:
    """What a fit needs.

    Attributes:
        embeddings: float32, shape (n, dim).
        labels: one per embedding.
        weights: float64, shape (n,); None weighs all alike.
        views: of examples, embedded like these; None for none.
        start: the safetensors file of a head to begin from; None for none.
        groups: what each example belongs to; None if none of them belongs to anything.
        held_out: what to measure the head on.
    """

    embeddings: NDArray[np.float32]
    labels: Sequence[str]
    spec: adapters.HeadSpec
    fingerprint: str
    weights: NDArray[np.float64] | None = None
    views: Views | None = None
    start: bytes | None = None
    groups: Sequence[str | None] | None = None
    held_out: LabelledRows | None = None

    def pack(self, facts: Mapping[str, Any] | None = None) -> frames.Parts:
        """Packs the task as a frame, with further facts in its header."""
        views, held_out = self.views, self.held_out
        header = {
            **(facts or {}),
            "labels": list(self.labels),
            "groups": self.groups,
            "held_out_labels": None if held_out is None else held_out.labels,
            "held_out_groups": None if held_out is None else held_out.groups,
            "spec": self.spec.to_json(),
            "fingerprint": self.fingerprint,
        }
        arrays = {
            "embeddings": self.embeddings,
            "weights": self.weights,
            "views": None if views is None else views.embeddings,
            "view_rows": None if views is None else views.rows,
            "start": self.start,
            "held_out": None if held_out is None else held_out.embeddings,
        }
        return frames.pack(header, arrays)

    @classmethod
    def unpack(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Returns the task of a frame."""
        views = held_out = None
        if "views" in arrays:
            views = Views(arrays["views"], arrays["view_rows"])
        if "held_out" in arrays:
            held_out = LabelledRows(
                arrays["held_out"], header["held_out_labels"], header["held_out_groups"]
            )
        return cls(
            embeddings=arrays["embeddings"],
            labels=header["labels"],
            spec=adapters.HeadSpec.from_json(header["spec"]),
            fingerprint=header["fingerprint"],
            weights=arrays.get("weights"),
            views=views,
            start=arrays["start"].tobytes() if "start" in arrays else None,
            groups=header.get("groups"),
            held_out=held_out,
        )


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

    @classmethod
    def of(
        cls, fitted: adapters.Fitted, held_out: HeldOutResult | None, cpu_seconds: float
    ) -> Self:
        """Returns what was fitted, as it is sent and stored."""
        return cls(
            labels=fitted.head.labels,
            report=fitted.report.to_json(),
            held_out=None if held_out is None else held_out.to_json(),
            cpu_seconds=cpu_seconds,
            safetensors=fitted.head.to_safetensors(),
        )

    def pack(self, arrays: Mapping[str, NDArray[Any] | bytes | None] | None = None) -> frames.Parts:
        """Packs the result as a frame, with further arrays."""
        header = {
            "labels": self.labels,
            "report": self.report,
            "held_out": self.held_out,
            "cpu_seconds": self.cpu_seconds,
        }
        return frames.pack(header, {**(arrays or {}), "head": self.safetensors})

    @classmethod
    def unpack(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Returns the result of a frame."""
        return cls(
            labels=tuple(header["labels"]),
            report=header["report"],
            held_out=header.get("held_out"),
            cpu_seconds=header["cpu_seconds"],
            safetensors=arrays["head"].tobytes(),
        )
