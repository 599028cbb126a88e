"""What an advice says. The classes mirror the messages in `trunkline/v1/advice.proto`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from adapters.report import ClassReport, Estimate, LearningPoint, NearDuplicates

MAJORITY, DIRECT = "majority", "direct"
"""Names of the options that need no backbone."""

TRANSFER, EITHER, NOTHING = "transfer", "either", "nothing"
"""Verdicts; the fourth is `DIRECT`."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the examples lie in the embeddings of a backbone.

    Attributes:
        log_evidence: log of the maximum evidence (LogME), per example and class.
        effective_rank: in how many directions they vary.
        mean_similarity: mean cosine of two of them.
    """

    log_evidence: float
    effective_rank: float
    mean_similarity: float


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that could be done.

    Attributes:
        name: "majority", "direct", or that of a backbone.
        estimate: on folds that all options share.
        learning_curve: from few examples to those that a fold leaves.
        geometry: None but for backbones.
    """

    name: str
    estimate: Estimate
    learning_curve: tuple[LearningPoint, ...]
    geometry: Geometry | None = None


@dataclass(frozen=True, slots=True)
class LabelsNeeded:
    """How many examples an accuracy is likely to take; None where that is out of sight."""

    accuracy: float
    examples: int | None


@dataclass(frozen=True, slots=True)
class HeadLead:
    """What the best head is ahead of direct training on the same examples.

    Attributes:
        backbone: of that head.
        gain: difference of the accuracies; below 0 where the head is behind.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    backbone: str
    gain: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Advice:
    """What could be done with examples, how good it would be, and what is advised.

    Attributes:
        example_count: examples that were looked at.
        classes: how many of each class.
        options: the most accurate one first.
        verdict: "transfer", "either", "direct" or "nothing".
        recommended: name of an option.
        summary: the verdict in words.
        reasons: a sentence or two each.
        fine_tuning: whether it is likely to pay.
        fine_tuning_reason: why.
        labels_needed: of the recommended option.
        near_duplicates: at most `adapters.diagnostics.MAX_LISTED` pairs, those with two labels
            first.
        near_duplicate_count: pairs in all.
        group_count: groups of all examples, those alone in theirs included.
        head_lead: what the best head is ahead of direct training.
        direct_code: lines of Python that train directly with scikit-learn, as it was measured, on
            `inputs` (texts, or files of pictures) and `labels`: they make `model` and print its
            accuracy by cross-validation.
    """

    example_count: int
    classes: tuple[ClassReport, ...]
    options: tuple[Option, ...]
    verdict: str
    recommended: str
    summary: str
    reasons: tuple[str, ...]
    fine_tuning: bool
    fine_tuning_reason: str
    labels_needed: tuple[LabelsNeeded, ...]
    near_duplicates: tuple[NearDuplicates, ...]
    near_duplicate_count: int
    group_count: int
    head_lead: HeadLead
    direct_code: str

    def to_json(self) -> dict[str, Any]:
        """Return a dict that `json.dumps` takes."""
        return asdict(self)
