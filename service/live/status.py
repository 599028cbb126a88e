"""The status of a live copy, as clients see it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from service.live.comparison import Comparison
from service.live.live_copy import LiveCopy


class LiveState(StrEnum):
    """What a live copy is doing."""

    IDLE = "idle"
    LEARNING = "learning"
    SERVING = "serving"
    HELD_BACK = "held_back"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class DriftStatus:
    """ADWIN on the serving head; `detected_at` is in seconds since the epoch."""

    detected_at: float | None
    window: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """The status of a live copy; the fields mean what they mean in the proto file."""

    state: LiveState
    error_rate: float
    reason: str = ""
    base_version: int = 0
    example_count: int = 0
    feedback_count: int = 0
    labels: tuple[str, ...] = ()
    scored: int = 0
    active_right: int = 0
    live_right: int = 0
    evidence_better: float = 1.0
    evidence_worse: float = 1.0
    comparison: Comparison | None = None
    drift: DriftStatus = DriftStatus(None, 0, 0.0)
    near_copies: int = 0
    family: str = ""
    chosen_on: int = 0


def status_of(copy: LiveCopy, drift_at: float | None) -> LiveStatus:
    """Returns a copy's status."""
    gate = copy.gate
    state, reason = LiveState.LEARNING, ""
    if copy.head is None:
        reason = "its examples are of one class only"
    elif copy.serving:
        state = LiveState.SERVING
    elif gate.held_back and gate.comparison is not None:
        state = LiveState.HELD_BACK
        reason = (
            f"better on the feedback, but {gate.comparison.live:.1%} right on the stored examples, "
            f"where the active version is {gate.comparison.active:.1%} right"
        )
        if gate.comparison.worse_class is not None:
            reason += f"; {gate.comparison.worse_class!r} fares worse"
    return LiveStatus(
        state=state,
        reason=reason,
        error_rate=gate.error_rate,
        base_version=copy.version,
        example_count=copy.example_count,
        feedback_count=copy.feedback_count,
        labels=copy.labels,
        scored=gate.scored,
        active_right=gate.active_right,
        live_right=gate.live_right,
        evidence_better=gate.evidence_better,
        evidence_worse=gate.evidence_worse,
        comparison=gate.comparison,
        drift=DriftStatus(drift_at, copy.drift.window, copy.drift.accuracy or 0.0),
        near_copies=gate.near_copies,
        family=copy.basis.family,
        chosen_on=copy.chosen_on,
    )
