"""When a live copy answers, and when it takes over."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Policy(StrEnum):
    """What feedback does to predictions."""

    IMMEDIATE = "immediate"
    GATED = "gated"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Rules:
    """How a copy is judged.

    Attributes:
        policy: whether it serves, may take over, or neither.
        error_rate: of the sequential test.
        drift_delta: confidence of the drift detector, which looks at the answers that are served.
    """

    policy: Policy
    error_rate: float
    drift_delta: float
