"""What is known about a head, most of it without a held-out set.

The classes mirror the messages of the same names in `trunkline/v1/heads.proto`. Examples are named
by their row in the caller's order; the caller puts digests in their place and adds what only it
knows: the head's name, its version, the backbone and the time it took.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from adapters.decisions import DecisionCurve
from adapters.json_reading import read
from adapters.spec import NO_VIEWS, HeadSpec


@dataclass(frozen=True, slots=True)
class Estimate:
    """Accuracy and log-loss on examples that the scoring model had not seen.

    Attributes:
        method: "leave-one-out", "20-fold cross-validation", "held-out" and the like.
        accuracy: share of right predictions, from 0 to 1.
        accuracy_low: lower end of the 95 % Wilson score interval of `effective_examples`.
        accuracy_high: upper end of it.
        log_loss: mean negative log-probability of the right label after calibration, in nats.
        examples: on how many it was measured; 0 in reports of earlier releases.
        groups: how many groups those belong to; as many as examples if they are independent.
        effective_examples: how many independent examples they are worth
            (`adapters.groups.effective_count`).
        optimism: share by which choosing strength and family on these examples has made `accuracy`
            too high, by `adapters.optimism`; the interval lies around what remains.
    """

    method: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float
    examples: int = 0
    groups: int = 0
    effective_examples: float = 0.0
    optimism: float = 0.0


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One class: how many examples of it there were, and how well they were recognised.

    `precision`, `recall` and `f1` are None where they are not defined or could not be estimated.
    `groups` is in how many groups the examples are, 0 where that is not known; `no_estimate` says
    why the class was not held out, empty if it was.
    """

    label: str
    examples: int
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    groups: int = 0
    no_estimate: str = ""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions of similar probability: its mean, and the share of them that was right."""

    examples: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Predictions of examples that the scoring model had not seen, summed up.

    Attributes:
        estimate: accuracy and log-loss.
        classes: precision, recall, F1 and examples, in the order of the head's labels.
        confusion: counts of those that were scored; rows are true classes, columns predicted ones.
        expected_calibration_error: mean distance of confidence and accuracy over bins of equal
            mass, weighted by their size (Naeini et al. 2015; at most 10 bins).
        reliability: those bins, from the least confident to the most.
    """

    estimate: Estimate
    classes: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...]
    expected_calibration_error: float
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A family that was considered.

    `l2` is None for a family without a penalty. `estimate` is None for a family that "auto" left
    out, because it makes no sense or costs out of proportion on so many examples and classes, and
    where there are too few examples for an estimate.
    """

    family: str
    l2: float | None
    estimate: Estimate | None
    chosen: bool


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """Accuracy, on the others, of trainings on so many of the examples."""

    examples: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class LikelyMislabelled:
    """An example (`row`) whose label the others contradict.

    The probabilities are those of a model that had not seen it.
    """

    row: int
    label: str
    predicted_label: str
    label_probability: float
    predicted_probability: float


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Two examples with different labels whose embeddings have this cosine."""

    row: int
    label: str
    other_row: int
    other_label: str
    similarity: float


@dataclass(frozen=True, slots=True)
class GroupReport:
    """Which examples are no independent evidence.

    Attributes:
        count: groups of all examples, those of a single one included.
        named: groups that were named by who sent the examples.
        near_copies_within: examples with a near-copy in their own class.
        near_copies_across: examples with a near-copy of another class.
        parted: examples of chains of near-copies too large to be held out together; they are
            estimated as if they were independent, so that the estimate is too high.
        missed: probability with which a pair of near-copies at the threshold was missed; 0 where
            all pairs were compared.
    """

    count: int
    named: int = 0
    near_copies_within: int = 0
    near_copies_across: int = 0
    parted: int = 0
    missed: float = 0.0


@dataclass(frozen=True, slots=True)
class AugmentationReport:
    """What augmentation brought, on the same folds.

    Attributes:
        views: views or noisy copies of each example.
        used: "none", "examples" (views are examples of their own) or "average".
        augmented_examples: examples that had views.
        without: the estimate without views.
        as_examples: with views as examples of their own; None if it was not tried.
        averaged: with each example's mean over its views; None if it was not tried.
    """

    views: int
    used: str
    augmented_examples: int
    without: Estimate
    as_examples: Estimate | None
    averaged: Estimate | None


@dataclass(frozen=True, slots=True)
class NoveltyReport:
    """How a head recognises what is like none of its examples.

    Attributes:
        false_alarm_rate: share of ordinary inputs that may be called novel.
        threshold: distance of unit vectors beyond which an input is novel.
        kept: embeddings that are kept to compare with.
        neighbour: which nearest one of them counts.
        abstain: whether novel rows get no answer.
    """

    false_alarm_rate: float
    threshold: float
    kept: int
    neighbour: int
    abstain: bool


@dataclass(frozen=True, slots=True)
class TuningEpoch:
    """Where fine-tuning stood after an epoch: means over all examples, on the folds.

    `loss` is that of training; the other two are of held-out examples, the loss after calibration.
    """

    epoch: int
    loss: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True, slots=True)
class ViewTrial:
    """Views that a tail was tried with, beside no views on the same folds and epochs.

    Attributes:
        views: "flips" or "crops".
        count: of each image.
        folds: on how many folds they were tried; 0 where they were not.
        epochs: on each of them.
        estimate: on examples of these folds that the tails had not seen; None likewise.
        without: without views.
        chosen: whether the tail is tuned on them.
        reason: why they were or were not chosen, given up or not tried, in words.
    """

    views: str
    count: int
    folds: int = 0
    epochs: int = 0
    estimate: Estimate | None = None
    without: Estimate | None = None
    chosen: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FineTuningReport:
    """Feature extraction and fine-tuning side by side, on the same folds.

    Attributes:
        strategy: one of `adapters.spec.STRATEGIES`.
        used: whether the head runs on the tail; it does if that was better on the folds.
        reason: why it does or does not, in words.
        without_tail: the head on the frozen backbone.
        with_tail: the head on tails that had not seen the examples either.
        seconds_without: wall-clock time of training the head on the frozen backbone.
        seconds_with: that, and the time of fine-tuning.
        bytes_without: size of the head's file.
        bytes_with: size of the weights that were changed, and of the head's file on them.
        blocks: names of the blocks that were changed.
        epochs: passes over all examples in the end.
        curve: the folds, epoch by epoch.
        epoch_seconds: median wall-clock time of a pass over all examples.
        views: kind of the views that the tail was tuned on: "none", "flips" or "crops".
        view_count: how many of each image.
        tried: views that were tried, where the folds were to choose.
        averaged: predictions with the tail that average over as many views; None without views,
            or where the tail is not used.
    """

    strategy: str
    used: bool
    reason: str
    without_tail: Estimate
    with_tail: Estimate
    seconds_without: float
    seconds_with: float
    bytes_without: int
    bytes_with: int
    blocks: tuple[str, ...]
    epochs: int
    curve: tuple[TuningEpoch, ...]
    epoch_seconds: float
    views: str = NO_VIEWS
    view_count: int = 0
    tried: tuple[ViewTrial, ...] = ()
    averaged: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How a head was trained and how good it is believed to be.

    Attributes:
        family: the family of the head, never "auto".
        spec: what was asked for.
        fingerprint: of the backbone whose embeddings it was trained on.
        example_count: examples it was trained on.
        classes: in the order of the head's labels; figures are those of `evaluation`.
        estimate: of the chosen candidate; None where there are too few examples, or it was
            imported.
        l2: strength of the penalty that was used; None for a family without one.
        temperature: divides the logits before the softmax.
        candidates: every family that was considered.
        evaluation: more of the estimate; None where that is.
        decisions: what may be accepted without a look; None in reports of earlier releases, and
            where there is no estimate.
        learning_curve: from few examples to all of them.
        likely_mislabelled: worst first.
        near_duplicates: nearest first.
        augmentation: None unless asked for.
        novelty: None unless asked for.
        fine_tuning: None unless asked for.
        groups: None in reports of earlier releases, and of imported heads.
        warnings: what whoever reads the estimate should know, a sentence or two each.
    """

    family: str
    spec: HeadSpec
    fingerprint: str
    example_count: int
    classes: tuple[ClassReport, ...]
    estimate: Estimate | None
    l2: float | None
    temperature: float
    candidates: tuple[Candidate, ...]
    evaluation: Evaluation | None = None
    learning_curve: tuple[LearningPoint, ...] = ()
    likely_mislabelled: tuple[LikelyMislabelled, ...] = ()
    near_duplicates: tuple[NearDuplicates, ...] = ()
    augmentation: AugmentationReport | None = None
    novelty: NoveltyReport | None = None
    fine_tuning: FineTuningReport | None = None
    groups: GroupReport | None = None
    warnings: tuple[str, ...] = ()
    decisions: DecisionCurve | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a dict that `json.dumps` takes and `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned, also after a trip through JSON text."""
        return read(cls, data)
