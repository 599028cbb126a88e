"""Figures in words, for terminals and pages alike."""

import math
from datetime import datetime

from trunkline.values.advice import Advice, HeadLead
from trunkline.values.estimates import Estimate
from trunkline.values.heads import LiveCopy, LiveState
from trunkline.values.reports import AugmentationReport, DecisionCurve, DecisionPoint

_TENTHS = range(1, 11)

NONE = "-"
"""What stands for a figure that is not known."""

_UNITS = (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 48 * 3600), ("d", 86400, math.inf))
"""Units of an age, their seconds, and below how many seconds each is used."""


def percent(value: float | None) -> str:
    """Writes a share for a person."""
    return NONE if value is None else f"{value:.1%}"


def accuracy(estimate: Estimate) -> str:
    """Writes the accuracy with its 95 % interval."""
    low, high = estimate.accuracy_low, estimate.accuracy_high
    return f"{estimate.accuracy:.1%} ({low:.1%} to {high:.1%})"


def short_accuracy(estimate: Estimate | None) -> str:
    """Writes the accuracy for a table; of its 95 % interval whole percents, rounded outwards."""
    if estimate is None:
        return NONE
    low = math.floor(round(100 * estimate.accuracy_low, 6))
    high = math.ceil(round(100 * estimate.accuracy_high, 6))
    return f"{100 * estimate.accuracy:.3g}% ({low}-{high})"


def age(since: datetime, now: datetime) -> str:
    """Writes how long ago something was, in its largest unit, for a table."""
    seconds = max(0.0, (now - since).total_seconds())
    unit, length = next((unit, length) for unit, length, most in _UNITS if seconds < most)
    return f"{seconds // length:.0f} {unit}"


def live_accuracy(live: LiveCopy | None) -> tuple[str, str] | None:
    """Writes how often the live copy was right on feedback, and beside whom.

    None unless it answers predictions and was scored: else the version's own figures are those of
    the answers that people get.
    """
    if live is None or live.state is not LiveState.SERVING or not live.scored:
        return None
    beside = f"version {live.base_version}: {live.active_right / live.scored:.1%}"
    return (
        f"{live.live_right / live.scored:.1%}",
        f"of {counted(live.scored, 'feedback')}; {beside}",
    )


def curve_rows(found: DecisionCurve) -> list[DecisionPoint]:
    """Chooses points of a curve for a table: those next to each tenth, and the rule's own."""
    tenths = [min(found.points, key=lambda row: abs(row.share - tenth / 10)) for tenth in _TENTHS]
    accepted = found.decide.acceptance if found.decide else None
    own = [row for row in found.points if accepted and row.threshold == accepted.threshold]
    return sorted({*tenths, *own}, key=lambda row: row.share)


def augmentation_ways(found: AugmentationReport) -> list[tuple[str, Estimate | None, bool]]:
    """Names the ways to use views, with the estimate of each, and whether it was taken."""
    ways = (
        ("without views", found.without, "none"),
        ("views as examples", found.as_examples, "examples"),
        ("mean of the views", found.averaged, "average"),
    )
    return [(name, estimate, way == found.used) for name, estimate, way in ways]


def direct_words(advice: Advice) -> str:
    """Says what to do where direct training is advised, above lines of Python that do it."""
    words = "Heads stand on embeddings, so direct training needs no server. "
    if lead := advice.head_lead:
        words += f"The best head, on {lead.backbone}, is {_lead(lead)} it. "
    words += (
        "These lines train on the same data with scikit-learn, as it was measured here, and print "
        "their own cross-validated accuracy"
    )
    if advice.failed:
        words += "; rows that failed must be left out of the data first"
    if 0 < advice.group_count < advice.example_count:
        words += (
            "; that is too high where copies or groups were held out together here, which these "
            "lines do not do"
        )
    return f"{words}."


def _lead(lead: HeadLead) -> str:
    """Says how far a head is behind direct training, or ahead of it, with the 95 % interval."""
    ends = (lead.low, lead.high) if lead.gain > 0 else (-lead.high, -lead.low)
    low, high = (100 * end + 0.0 for end in ends)
    where = "ahead of" if lead.gain > 0 else "behind"
    return f"{100 * abs(lead.gain):.1f} points ({low:.1f} to {high:.1f}, 95 %) {where}"


def size(count: int) -> str:
    """Writes a number of bytes for a person."""
    if count < 1_000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Writes a number of things; the plural is the noun with an s, if no other is given."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
