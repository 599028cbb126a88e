"""The verdict and its reasons in words."""

from __future__ import annotations

from collections.abc import Iterator

from adapters.advice.comparison import OptionResult
from adapters.advice.findings import Findings
from adapters.advice.report import DIRECT, EITHER, MAJORITY, NOTHING, TRANSFER
from adapters.advice.tuning_outlook import NARROW

NO_GAIN = 0.005
"""A gain in accuracy that is called none."""

UNSURE = 0.1
"""Width of a 95 % interval from which on it is said that examples are few."""


def summary(findings: Findings) -> str:
    """Return the verdict in two or three sentences."""
    head, direct, majority = findings.head, findings.direct, findings.majority
    raw = f"direct training ({findings.raw}, logistic regression)"
    constant = f"the most frequent class alone {_share(majority)}"
    if findings.verdict == TRANSFER:
        return (
            f"Transfer helps. A head on {head.name} recognises {_share(head)} of the examples it "
            f"has not seen, {raw} {_share(direct)}, {constant}."
        )
    if findings.verdict == DIRECT:
        return (
            f"Transfer does not help. D{raw[1:]} recognises {_share(direct)} of the examples it "
            f"has not seen, a head on {head.name} {_share(head)}, {constant}."
        )
    if findings.verdict == EITHER:
        return (
            f"Transfer makes no clear difference. A head on {head.name} recognises {_share(head)} "
            f"of the examples it has not seen, {raw} {_share(direct)}, {constant}. "
            f"Recommended is what did better: {name(findings.recommended)}."
        )
    if findings.recommended.name == MAJORITY:
        return (
            "Nothing is better than always answering the most frequent class, which is right on "
            f"{_share(majority)} of the examples."
        )
    return (
        "Nothing is clearly better than always answering the most frequent class: that is right "
        f"on {_share(majority)} of the examples, {name(findings.recommended)} on "
        f"{_share(findings.recommended)} of those it has not seen."
    )


def reasons(findings: Findings) -> Iterator[str]:
    """Return what the verdict rests on, and what else is worth knowing."""
    yield _against_direct(findings)
    if len(findings.heads) > 1:
        yield _between_backbones(findings)
    yield _spread(findings)
    if findings.verdict == NOTHING:
        yield (
            "Perhaps the labels do not depend on what the inputs show, or there are too few "
            f"examples to see it ({findings.n:,})."
        )
    elif gain := _gain(findings):
        yield gain
    yield from _near_duplicates(findings)
    estimate = findings.recommended.estimate
    if estimate.accuracy_high - estimate.accuracy_low > UNSURE:
        low, high = estimate.accuracy_low, estimate.accuracy_high
        yield (
            f"{findings.n:,} examples leave much open: the accuracy of "
            f"{name(findings.recommended)} is between {low:.1%} and {high:.1%} (95 %)."
        )


def name(option: OptionResult) -> str:
    """Name an option in a sentence."""
    if option.name == MAJORITY:
        return "the most frequent class"
    return "direct training" if option.name == DIRECT else f"a head on {option.name}"


def _share(option: OptionResult) -> str:
    return f"{option.estimate.accuracy:.1%}"


def _against_direct(findings: Findings) -> str:
    found = findings.transfer
    clear = "clear" if found.clear else "not clear"
    return (
        f"On the same folds, {found.only_first:,} of {findings.n:,} examples were recognised by "
        f"the head on {findings.head.name} alone, {found.only_second:,} by direct training alone: "
        f"{100 * found.gain:+.1f} points for the head ({100 * found.low:+.1f} to "
        f"{100 * found.high:+.1f}, 95 %), which is {clear} "
        f"(McNemar's test, |z| = {abs(found.z):.1f})."
    )


def _between_backbones(findings: Findings) -> str:
    first, second, *_ = findings.heads
    found = findings.compare(first, second)
    by_evidence = max(findings.geometries, key=lambda one: findings.geometries[one].log_evidence)
    agrees = (
        "The evidence in the embeddings (LogME) says the same."
        if by_evidence == first.name
        else f"By the evidence in the embeddings (LogME) it would be {by_evidence}."
    )
    clear = "clear" if found.clear else "not clear"
    return (
        f"Of {len(findings.heads)} backbones, {first.name} does best; {second.name} is "
        f"{100 * found.gain:.1f} points behind, which is {clear}. {agrees}"
    )


def _spread(findings: Findings) -> str:
    head = findings.head
    found = findings.geometries[head.name]
    facts = f"mean cosine {found.mean_similarity:.2f}, effective rank {found.effective_rank:.0f}"
    if found.mean_similarity > NARROW:
        return (
            f"To {head.name} the examples look much alike ({facts}): they lie apart from the "
            "varied inputs that it was trained to tell from one another."
        )
    return f"In the embeddings of {head.name} the examples are spread out ({facts})."


def _gain(findings: Findings) -> str | None:
    best = findings.recommended
    gain = findings.doubled(best)
    if gain is None:
        return None
    if gain < NO_GAIN:
        return f"The learning curve of {name(best)} is flat: more labels would bring little."
    return (
        f"By its learning curve, twice the examples would bring {name(best)} about "
        f"{100 * gain:.1f} points."
    )


def _near_duplicates(findings: Findings) -> Iterator[str]:
    duplicates = findings.duplicates
    if duplicates.count:
        yield (
            f"{duplicates.count:,} pairs of examples are nearly the same, "
            f"{duplicates.contradicting:,} of them under two labels. Copies were kept together "
            "when examples were held out, or they would have made the estimates too high."
        )
    groups = duplicates.groups
    if groups.named:
        yield f"{groups.named:,} named groups were held out as a whole each."
    if groups.parted:
        yield (
            f"{groups.parted:,} examples form chains of copies that are too large a part of all to "
            "be kept together: the estimates are too high."
        )
    left = int((~findings.plan.scored).sum())
    if left:
        yield (
            f"{left:,} examples were learned but not held out, as all that is known of their class "
            "is in one group, or a single example: nothing here is measured on them."
        )
