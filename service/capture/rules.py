"""What a head keeps of its traffic: which rows, how many, and for how long."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from service.errors import InvalidRequest
from service.store.captures import CaptureBounds
from trunkline.v1 import heads_pb2

PER_HOUR, MAX_PER_HOUR = 60, 10_000
COUNT, MAX_COUNT = 2000, 100_000
BYTES, MIN_BYTES, MAX_BYTES = 250_000_000, 1_000_000, 100_000_000_000
DAYS, MAX_DAYS = 30, 400
MARGIN = 0.2
LEVEL = 0.9


@dataclass(frozen=True, slots=True)
class CaptureRules:
    """Shares of the traffic, and bounds of what is kept of it; each share is from 0 to 1.

    Attributes:
        share: of rows, that the rules are tried on; each rule has its own share of these.
        per_hour: in an hour of the clock, of all servers together.
        random_share: of rows that are taken whatever their answer.
        uncertain_share: of those whose two highest probabilities are less than `uncertain_margin`
            apart.
        novel_share: of those that are like none of the examples.
        conformal_share: of those whose set at `conformal_level` has not exactly one class.
        max_count, max_bytes: of inputs that are kept.
        days: after which they go.
    """

    share: float = 1.0
    per_hour: int = PER_HOUR
    random_share: float = 0.0
    uncertain_share: float = 0.0
    uncertain_margin: float = MARGIN
    novel_share: float = 0.0
    conformal_share: float = 0.0
    conformal_level: float = LEVEL
    max_count: int = COUNT
    max_bytes: int = BYTES
    days: int = DAYS

    def __post_init__(self) -> None:
        for name in ("share", "random_share", "uncertain_share", "novel_share", "conformal_share"):
            _check_number(name, getattr(self, name), 0, 1)
        _check_number("uncertain_margin", self.uncertain_margin, 0, 1)
        if not 0 < self.conformal_level < 1:
            raise _bad("conformal_level", "above 0 and below 1", self.conformal_level)
        _check_number("per_hour", self.per_hour, 1, MAX_PER_HOUR)
        _check_number("max_count", self.max_count, self.per_hour, MAX_COUNT)
        _check_number("max_bytes", self.max_bytes, MIN_BYTES, MAX_BYTES)
        _check_number("days", self.days, 1, MAX_DAYS)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Reads what `to_json` returned.

        Raises:
            InvalidRequest, TypeError: it is damaged.
        """
        return cls(**stored)

    def to_json(self) -> dict[str, Any]:
        """Returns what is stored."""
        return asdict(self)

    @property
    def bounds(self) -> CaptureBounds:
        """How much is kept; of an hour, at most half by rules beside a random share."""
        by_rules = (self.per_hour + 1) // 2 if self.random_share else self.per_hour
        return CaptureBounds(self.per_hour, by_rules, self.max_count, self.max_bytes, self.days)


def read_capture(message: heads_pb2.Capture) -> CaptureRules:
    """Returns the rules that a request gives, with defaults in the place of zeros.

    Raises:
        InvalidRequest: one of them is out of bounds.
    """
    given = {
        field.name: value
        for field in fields(CaptureRules)
        if (value := getattr(message, field.name))
    }
    given.setdefault("max_count", max(COUNT, message.per_hour))
    return CaptureRules(**given)


def capture_message(stored: Mapping[str, Any] | None) -> heads_pb2.Capture | None:
    """Converts stored rules to their message; None for none."""
    return None if stored is None else heads_pb2.Capture(**CaptureRules.from_json(stored).to_json())


def _check_number(name: str, value: float, least: float, most: float) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise _bad(name, f"from {least:,} to {most:,}", value)


def _bad(name: str, limit: str, value: float) -> InvalidRequest:
    return InvalidRequest.at(f"capture.{name}", "must be {limit}, is {value}", limit, value)
