"""The policies of live copies: when one serves, and when it takes over."""

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
    """The rules that a live copy follows.

    Attributes:
        policy: whether it serves, may take over, or neither.
        error_rate: error rate of the sequential test.
        drift_delta: confidence of the drift detector, which follows the served predictions.
    """

    policy: Policy
    error_rate: float
    drift_delta: float
