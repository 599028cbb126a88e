"""What is known about a version: frozen values, free of protobuf and of numpy."""

from dataclasses import dataclass
from datetime import datetime

from trunkline.values.estimates import Estimate
from trunkline.values.heads import Decide, HeadSpec


@dataclass(frozen=True)
class Candidate:
    """A family that `auto` considered; one too costly for the data has no estimate."""

    family: str
    l2: float | None
    estimate: Estimate | None
    chosen: bool


@dataclass(frozen=True)
class ClassReport:
    """One class: its examples, and how well they were recognised.

    `precision`, `recall` and `f1` are None where they are not defined or could not be estimated.
    `groups` is in how many groups its examples are, 0 if that is not known; `no_estimate` says why
    the class was not held out, empty if it was.
    """

    label: str
    examples: int
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    groups: int = 0
    no_estimate: str = ""


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of similar probability: its mean, and the share of them that was right."""

    examples: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """Predictions of examples that the scoring model had not seen, summed up.

    `confusion` counts, in the order of `classes`: rows are true classes, columns predicted ones.
    The expected calibration error and `reliability` are over bins of equal mass.
    """

    estimate: Estimate
    classes: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...]
    expected_calibration_error: float
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class LearningPoint:
    """Accuracy that a training on so many of the examples would have had."""

    examples: int
    accuracy: float


@dataclass(frozen=True)
class DecisionPoint:
    """What accepting all that is more probable than `threshold` comes to, on held-out predictions.

    That is `accepted` of them, a share of `share`, of which `right` are; `effective` independent
    ones. `precision` is less than their share by the optimism of the estimate; its exact 95 %
    interval is that of this point alone.
    """

    threshold: float
    accepted: int
    share: float
    right: int
    precision: float
    precision_low: float
    precision_high: float
    effective: float


@dataclass(frozen=True)
class DecisionCurve:
    """Precision against the share that is accepted, on `examples` held-out predictions.

    `points` go from the smallest share to everything. `decide` is the head's rule, and what it
    accepts of this version's answers; None without one.
    """

    points: tuple[DecisionPoint, ...]
    examples: int
    decide: Decide | None


@dataclass(frozen=True)
class LikelyMislabelled:
    """An example whose label the others contradict.

    The probabilities, of its label and of the one predicted, are those of models that had not seen
    it. `external_id` is None for an example without one.
    """

    digest: str
    label: str
    predicted_label: str
    label_probability: float
    predicted_probability: float
    external_id: str | None = None


@dataclass(frozen=True)
class NearDuplicates:
    """Nearly the same input under two labels; `similarity` is the cosine of their embeddings.

    The external ids are None for examples without one, and in advice.
    """

    digest: str
    label: str
    other_digest: str
    other_label: str
    similarity: float
    external_id: str | None = None
    other_external_id: str | None = None


@dataclass(frozen=True)
class GroupReport:
    """Which examples are no independent evidence, and were held out together.

    `count` groups, those of one example included; of them `named` by who sent the examples.
    Examples with near-copies in their own class and of another; those `parted` are in chains of
    near-copies too large for that. `missed` is the probability to miss a pair of near-copies.
    """

    count: int
    named: int
    near_copies_within: int
    near_copies_across: int
    parted: int
    missed: float


@dataclass(frozen=True)
class AugmentationReport:
    """What augmentation brought, on the same folds.

    `used` is "none", "examples" (views are examples of their own) or "average"; the estimate of a
    way that was not tried is None. `augmented_examples` had views.
    """

    views: int
    used: str
    augmented_examples: int
    without: Estimate
    as_examples: Estimate | None
    averaged: Estimate | None


@dataclass(frozen=True)
class NoveltyReport:
    """How novel inputs are found: by the distance to the `neighbour`-th of `kept` embeddings."""

    false_alarm_rate: float
    threshold: float
    kept: int
    neighbour: int
    abstain: bool


@dataclass(frozen=True)
class TuningEpoch:
    """Means over the folds after an epoch of fine-tuning; the losses are in nats."""

    epoch: int
    loss: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class ViewTrial:
    """Views that a tail was tried with, beside no views on the same folds and for as many epochs.

    `views` is "flips" or "crops", `count` how many of each image. They were tried on `folds` folds
    for `epochs` epochs of each, 0 where they were not tried; the estimates, with them and without,
    are None then. `reason` says why they were or were not chosen, given up or not tried.
    """

    views: str
    count: int
    folds: int
    epochs: int
    estimate: Estimate | None
    without: Estimate | None
    chosen: bool
    reason: str


@dataclass(frozen=True)
class FineTuningReport:
    """Feature extraction and fine-tuning side by side, on the same folds.

    The version runs on the tail if that was better (`used`); `reason` says why it does or does not.
    An estimate that could not be made is None. The seconds are those of the whole training either
    way, the bytes those of the weights that the tenant has of its own. `blocks` names what was
    changed in `epochs` passes over all examples, which took a median of `epoch_seconds` each.

    The tail was tuned on `view_count` views of each image, "flips" or "crops" as `views` says, or
    "none"; `tried` is what was tried beside no views where the folds were to choose. `averaged` are
    predictions that average over as many views; None without views or where no tail is used.
    """

    strategy: str
    used: bool
    reason: str
    without_tail: Estimate | None
    with_tail: Estimate | None
    seconds_without: float
    seconds_with: float
    bytes_without: int
    bytes_with: int
    blocks: tuple[str, ...]
    epochs: int
    curve: tuple[TuningEpoch, ...]
    epoch_seconds: float
    views: str = "none"
    view_count: int = 0
    tried: tuple[ViewTrial, ...] = ()
    averaged: Estimate | None = None


@dataclass(frozen=True)
class OnlineAccuracy:
    """Accuracy on a stretch of `scored` feedbacks, the last of which was number `feedback`."""

    feedback: int
    scored: int
    active_accuracy: float
    live_accuracy: float
    time: datetime


@dataclass(frozen=True)
class Report:
    """What is known about a version.

    `evaluation`, made without a held-out set, is None where there are too few examples and for an
    imported version; `test`, on the head's held-out examples, where there are none.
    `likely_mislabelled` come worst first, `near_duplicates` nearest first, `online` oldest first.
    `fine_tuning` is None where nothing was to be fine-tuned. `truncated_count` of the examples are
    texts that are longer than the backbone's window. `warnings` are what whoever reads the estimate
    should know. `seen_held_out_count` held-out examples are near-copies of examples that were
    trained on, or belong to a group with one: `test` is without them; `seen_held_out` are the
    digests of the first, `seen_held_out_external_ids` their external ids, empty for none.
    `description_count` of the examples are descriptions of labels, which are in no estimate.
    `decisions` says what could be accepted without a look; None where that is not known.
    """

    head: str
    version: int
    family: str
    spec: HeadSpec
    backbone: str
    fingerprint: str
    example_count: int
    classes: tuple[ClassReport, ...]
    estimate: Estimate | None
    l2: float | None
    temperature: float
    train_seconds: float
    train_cpu_seconds: float
    candidates: tuple[Candidate, ...]
    evaluation: Evaluation | None
    test: Evaluation | None
    learning_curve: tuple[LearningPoint, ...]
    likely_mislabelled: tuple[LikelyMislabelled, ...]
    near_duplicates: tuple[NearDuplicates, ...]
    augmentation: AugmentationReport | None
    novelty: NoveltyReport | None
    online: tuple[OnlineAccuracy, ...]
    fine_tuning: FineTuningReport | None
    truncated_count: int = 0
    seen_held_out_count: int = 0
    description_count: int = 0
    seen_held_out: tuple[str, ...] = ()
    seen_held_out_external_ids: tuple[str, ...] = ()
    groups: GroupReport | None = None
    warnings: tuple[str, ...] = ()
    decisions: DecisionCurve | None = None
