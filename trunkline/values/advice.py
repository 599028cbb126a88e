"""Whether transfer pays for a data set: frozen values, free of protobuf and of numpy."""

from dataclasses import dataclass
from enum import StrEnum

from trunkline.values.estimates import Estimate
from trunkline.values.outcomes import RowFailure
from trunkline.values.reports import ClassReport, LearningPoint, NearDuplicates

DIRECT, MAJORITY = "direct", "majority"
"""Names of the options that need no backbone."""


class Verdict(StrEnum):
    """What the options amount to.

    TRANSFER: a head on a backbone is better than direct training. EITHER: there is no clear
    difference. DIRECT: direct training is better. NOTHING: nothing is better than always answering
    the most frequent class.
    """

    TRANSFER = "transfer"
    EITHER = "either"
    DIRECT = "direct"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Option:
    """One thing that could be done: "majority", "direct", or a head on the backbone of that name.

    `estimate` is on held-out folds that all options share. Of backbones only: `log_evidence`, the
    log of the maximum evidence per example and class (LogME); `effective_rank`, in how many
    directions the examples vary; `mean_similarity`, the mean cosine of two of them;
    `truncated_count`, how many texts are longer than its window.
    """

    name: str
    estimate: Estimate
    learning_curve: tuple[LearningPoint, ...]
    seconds: float
    log_evidence: float | None
    effective_rank: float | None
    mean_similarity: float | None
    truncated_count: int = 0


@dataclass(frozen=True)
class LabelsNeeded:
    """How many examples an accuracy is likely to take; None where it is out of sight."""

    accuracy: float
    examples: int | None


@dataclass(frozen=True)
class HeadLead:
    """What the best head, on `backbone`, is ahead of direct training on the same examples.

    `gain` is the difference of the accuracies, below 0 where the head is behind; its 95 % interval
    from `low` to `high` holds 0 where the difference is not clear.
    """

    backbone: str
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Advice:
    """What could be done with labelled inputs, how good it would be, and what is advised.

    `options` come best first; `recommended` names one of them. `near_duplicates`, of
    `near_duplicate_count` pairs in all, come with those under two labels first. `group_count`
    groups of examples, those of a single one included, were held out as a whole each.
    `direct_code` is lines of Python that train directly with scikit-learn, as it was measured, on
    `inputs` (texts, or files of images) and `labels`: they make `model`, and print its accuracy by
    cross-validation. A server of an earlier release tells neither that nor the `head_lead`. Rows
    among the `failures`, of `failed` in all, had no part in it.
    """

    example_count: int
    classes: tuple[ClassReport, ...]
    options: tuple[Option, ...]
    verdict: Verdict
    recommended: str
    summary: str
    reasons: tuple[str, ...]
    fine_tuning: bool
    fine_tuning_reason: str
    labels_needed: tuple[LabelsNeeded, ...]
    near_duplicates: tuple[NearDuplicates, ...]
    near_duplicate_count: int
    group_count: int
    failures: tuple[RowFailure, ...]
    failed: int
    head_lead: HeadLead | None = None
    direct_code: str = ""

    @property
    def best(self) -> Option:
        """The option that is recommended."""
        return next(option for option in self.options if option.name == self.recommended)
