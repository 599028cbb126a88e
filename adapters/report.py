"""What is known about a head without a held-out set.

The classes mirror the messages of the same names in `trunkline/v1/heads.proto`; whoever trains a
head adds what only he knows: its name, its version, the backbone and the time it took.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from adapters.spec import HeadSpec


@dataclass(frozen=True, slots=True)
class Estimate:
    """Accuracy and log-loss on examples that the scoring model had not seen.

    Attributes:
        method: "leave-one-out", "20-fold cross-validation", "held-out" and the like.
        accuracy: share of right answers, from 0 to 1.
        accuracy_low: lower end of the 95 % Wilson score interval.
        accuracy_high: upper end of it.
        log_loss: mean negative log-probability of the right label after calibration, in nats.
    """

    method: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float

    def to_json(self) -> dict[str, Any]:
        """Return a dict that `json.dumps` takes and `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A family that was considered.

    `l2` and `estimate` are None for a family that "auto" left out, because fitting it would cost
    out of proportion on so many examples and classes.
    """

    family: str
    l2: float | None
    estimate: Estimate | None
    chosen: bool

    def to_json(self) -> dict[str, Any]:
        """Return a dict that `json.dumps` takes and `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned."""
        return cls(**{**data, "estimate": _estimate(data["estimate"])})


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One class and how many examples of it the head was trained on."""

    label: str
    examples: int

    def to_json(self) -> dict[str, Any]:
        """Return a dict that `json.dumps` takes and `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Report:
    """How a head was trained and how good it is believed to be.

    Attributes:
        family: the family of the head, never "auto".
        spec: what was asked for.
        fingerprint: of the backbone whose embeddings it was trained on.
        example_count: examples it was trained on.
        classes: in the order of the head's labels.
        estimate: of the chosen candidate.
        l2: strength of the penalty that was used.
        temperature: divides the logits before the softmax.
        candidates: every family that was considered.
    """

    family: str
    spec: HeadSpec
    fingerprint: str
    example_count: int
    classes: tuple[ClassReport, ...]
    estimate: Estimate | None
    l2: float | None
    temperature: float
    candidates: tuple[Candidate, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a dict that `json.dumps` takes and `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned, also after a trip through JSON text."""
        return cls(
            **{
                **data,
                "spec": HeadSpec.from_json(data["spec"]),
                "classes": tuple(ClassReport.from_json(c) for c in data["classes"]),
                "estimate": _estimate(data["estimate"]),
                "candidates": tuple(Candidate.from_json(c) for c in data["candidates"]),
            }
        )


def _estimate(data: Mapping[str, Any] | None) -> Estimate | None:
    return None if data is None else Estimate.from_json(data)
