"""What a report says about groups, and about classes that lie in one group alone."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from adapters.examples import Examples
from adapters.groups import Groups
from adapters.report import ClassReport, Evaluation, GroupReport, Report

SINGLE = "it has a single example"
ONE_GROUP = "all of its examples are in one group, or near-copies of one another"
SHARED = "its groups hold all the examples of another class, too"

MAX_NAMED = 10
"""Classes without an estimate that warnings name; the report's classes say it of all."""


def class_reports(
    examples: Examples, evaluation: Evaluation | None = None
) -> tuple[ClassReport, ...]:
    """Return what there is to say of each class, in the order of the labels.

    Args:
        examples: in their groups.
        evaluation: of those that were held out; None if none were.
    """
    counts, groups = examples.counts.tolist(), examples.group_counts.tolist()
    estimated = examples.estimated.tolist()
    plain = [ClassReport(label, 0) for label in examples.labels]
    found = plain if evaluation is None else evaluation.classes
    return tuple(
        replace(
            one if held else empty,
            examples=count,
            groups=several,
            no_estimate="" if held else _reason(count, several),
        )
        for one, empty, held, count, several in zip(
            found, plain, estimated, counts, groups, strict=True
        )
    )


def with_groups(report: Report, groups: Groups) -> Report:
    """Add what is known of groups, and warnings, to a report whose classes say it of each."""
    facts = GroupReport(
        count=groups.count,
        named=groups.named,
        near_copies_within=groups.within,
        near_copies_across=groups.across,
        parted=groups.parted,
        missed=groups.missed,
    )
    return replace(report, groups=facts, warnings=tuple(_warnings(report, groups)))


def nearest_label(label: str, others: Sequence[str]) -> str | None:
    """Return the label that is spelt most like one, or None if none is alike (`difflib`)."""
    spelt = {other.casefold().strip(): other for other in others if other != label}
    found = difflib.get_close_matches(label.casefold().strip(), spelt, n=1)
    return spelt[found[0]] if found else None


def _reason(count: int, groups: int) -> str:
    if count == 1:
        return SINGLE
    return ONE_GROUP if groups == 1 else SHARED


def _warnings(report: Report, groups: Groups) -> Iterator[str]:
    without = [one for one in report.classes if one.no_estimate]
    known = [one.label for one in report.classes if not one.no_estimate]
    if report.estimate is None:
        yield (
            "There is no estimate: it takes two classes that lie in two groups each, and "
            f"{len(known)} of {len(report.classes)} {'does' if len(known) == 1 else 'do'}."
        )
    for one in without[:MAX_NAMED]:
        nearest = nearest_label(one.label, known) if one.examples == 1 else None
        asked = f" Was {nearest!r} meant?" if nearest else ""
        yield (
            f"Class {one.label!r} was learned, but has no estimate, as {one.no_estimate}.{asked}"
        )
    if len(without) > MAX_NAMED:
        yield f"{len(without) - MAX_NAMED} more classes have no estimate."
    if groups.across:
        yield (
            f"{groups.across} examples have near-copies of another class: one label or the other "
            "is likely wrong."
        )
    if groups.parted:
        yield (
            f"{groups.parted} examples form chains of near-copies that were too large to be held "
            "out together: the estimate is too high. Name their groups."
        )
