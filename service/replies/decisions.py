"""What is accepted of answers, and what could be, as messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters import Acceptance, DecisionCurve
from adapters.decisions import DecisionPoint
from service.replies.messages import message_of
from service.serving.decisions import acceptance_of, curve_of
from trunkline.v1 import heads_pb2


def decide_message(
    rule: Mapping[str, float] | None,
    version: int,
    source: str,
    decisions: Mapping[str, Any] | None,
) -> heads_pb2.Decide | None:
    """Converts a rule, and what it accepts of a version's answers; None for none.

    Args:
        rule: the head's, as it is stored.
        version: number of the version; 0 for none.
        source: how it was made.
        decisions: of its report; None where it says nothing of them.
    """
    found = acceptance_of(rule, source, decisions)
    if rule is None or found is None:
        return None
    return heads_pb2.Decide(
        precision=rule["precision"],
        confidence=rule["confidence"],
        acceptance=_acceptance(found, version) if version else None,
    )


def curve_message(
    decisions: Mapping[str, Any] | None, decide: heads_pb2.Decide | None
) -> heads_pb2.DecisionCurve | None:
    """Converts what a report says of decisions; None where it says nothing."""
    if decisions is None:
        return None
    curve = curve_of(decisions)
    return heads_pb2.DecisionCurve(
        points=[_point(curve, point) for point in curve.points],
        examples=curve.examples,
        decide=decide,
    )


def _acceptance(found: Acceptance, version: int) -> heads_pb2.Acceptance:
    return message_of(heads_pb2.Acceptance, found, version=version)


def _point(curve: DecisionCurve, point: DecisionPoint) -> heads_pb2.DecisionPoint:
    low, high = curve.interval(point)
    return message_of(
        heads_pb2.DecisionPoint,
        point,
        share=point.accepted / curve.examples,
        precision=curve.precision(point),
        precision_low=low,
        precision_high=high,
    )
