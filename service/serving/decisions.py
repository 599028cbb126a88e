"""What a version's held-out predictions allow to accept, by its head's rule.

Nothing of it is stored but the rule and, in each report, the curve: so whatever takes over, and
however it does, the threshold is that of the version that answers and of the rule as it is now.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from adapters import Acceptance, DecisionCurve, DecisionRule, accept
from adapters.decisions import DecisionPoint

KEPT = 1000
"""Answers that are kept: lists of heads ask for the same ones again and again."""

_WHY = {
    "import": "it was imported, and nobody knows what it has not seen",
    "feedback": "it has too few examples, or the tail that it runs on has seen them, or an earlier "
    "release made it",
}
_OTHERWISE = "it has too few examples, or an earlier release made it; train the head again"


def acceptance_of(
    rule: Mapping[str, float] | None, source: str, decisions: Mapping[str, Any] | None
) -> Acceptance | None:
    """Returns what is accepted of a version's answers; None without a rule.

    Args:
        rule: the head's, as it is stored.
        source: how the version was made.
        decisions: of its report: `DecisionCurve` as JSON; None where there is none.
    """
    if rule is None:
        return None
    if decisions is None:
        return Acceptance.none(
            f"there are no held-out predictions of this version: {_WHY.get(source, _OTHERWISE)}"
        )
    return _accept(curve_of(decisions), DecisionRule(**rule))


def curve_of(decisions: Mapping[str, Any]) -> DecisionCurve:
    """Reads what a report says of decisions."""
    points = tuple(DecisionPoint(**point) for point in decisions["points"])
    return DecisionCurve(points, decisions["optimism"])


_accept = lru_cache(KEPT)(accept)
