"""Whether fine-tuning is likely to pay."""

from __future__ import annotations

from adapters.advice.findings import Findings
from adapters.advice.report import NOTHING

ROOM = 0.02
"""Errors below which there is little to win."""

EXAMPLES, PER_CLASS = 200, 20
"""Fewer in all, or of a typical class, cannot guide the many weights of a block."""

NARROW = 0.8
"""Mean cosine above which examples look much alike to a backbone: inputs of the kind that it was
trained on lie far below (see docs/advice.md)."""

FLAT = 0.1
"""Share of the errors that twice the examples take away at most, where a curve is called flat."""


def fine_tuning(findings: Findings) -> tuple[bool, str]:
    """Return whether fine-tuning the best backbone is likely to pay, and why.

    There must be room and there must be examples enough. Then it takes a sign that the frozen
    features are what limits the head, since that is what fine-tuning changes: examples that look
    alike to the backbone, a learning curve that more labels hardly move, or raw inputs that say as
    much without the backbone.
    """
    head = findings.head
    error = 1 - head.estimate.accuracy
    if error < ROOM:
        return False, f"A head on {head.name} is right on {1 - error:.1%}: little is left to win."
    if findings.n < EXAMPLES or findings.typical_class < PER_CLASS:
        return False, (
            f"Too few examples to guide the many weights of a block: {findings.n:,}, "
            f"{findings.typical_class:,} of a typical class; from {EXAMPLES} and {PER_CLASS} on it "
            "is worth a try."
        )
    signs = _signs(findings, error)
    if findings.verdict == NOTHING:
        signs = []
    if signs:
        return True, f"The frozen features seem to be the limit: {'; '.join(signs)}."
    return False, (
        "Nothing says that the frozen features are the limit: examples are spread out, and the "
        "head still gains from labels. Those come first."
    )


def _signs(findings: Findings, error: float) -> list[str]:
    head = findings.head
    similarity = findings.geometries[head.name].mean_similarity
    gain = findings.doubled(head)
    signs = []
    if similarity > NARROW:
        signs.append(f"examples look much alike to {head.name} (mean cosine {similarity:.2f})")
    if gain is not None and gain < FLAT * error:
        signs.append(f"twice the examples would bring it {max(0.0, 100 * gain):.1f} points only")
    if not (findings.transfer.clear and findings.transfer.gain > 0):
        signs.append("raw inputs do as well without the backbone")
    return signs
