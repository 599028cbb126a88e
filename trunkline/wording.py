"""Figures in words, for terminals and pages alike."""

from trunkline.values.reports import AugmentationReport, Estimate

NONE = "-"
"""What stands for a figure that is not known."""


def percent(value: float | None) -> str:
    """Writes a share for a person."""
    return NONE if value is None else f"{value:.1%}"


def accuracy(estimate: Estimate) -> str:
    """Writes the accuracy with its 95 % interval."""
    low, high = estimate.accuracy_low, estimate.accuracy_high
    return f"{estimate.accuracy:.1%} ({low:.1%} to {high:.1%})"


def augmentation_ways(found: AugmentationReport) -> list[tuple[str, Estimate | None, bool]]:
    """Names the ways to use views, with the estimate of each, and whether it was taken."""
    ways = (
        ("without views", found.without, "none"),
        ("views as examples", found.as_examples, "examples"),
        ("mean of the views", found.averaged, "average"),
    )
    return [(name, estimate, way == found.used) for name, estimate, way in ways]


def size(count: int) -> str:
    """Writes a number of bytes for a person."""
    if count < 1_000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Writes a number of things; the plural is the noun with an s, if no other is given."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
