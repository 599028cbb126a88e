"""The report of a version, as it comes over the wire."""

from trunkline import replies
from trunkline.errors import DataLoss
from trunkline.replies.heads import spec
from trunkline.v1 import heads_pb2
from trunkline.values.reports import (
    AugmentationReport,
    Candidate,
    ClassReport,
    Estimate,
    Evaluation,
    FineTuningReport,
    GroupReport,
    LearningPoint,
    LikelyMislabelled,
    NearDuplicates,
    NoveltyReport,
    OnlineAccuracy,
    ReliabilityBin,
    Report,
    TuningEpoch,
    ViewTrial,
)
from trunkline.wire.tensors import unpack


def report(message: heads_pb2.HeadReport) -> Report:
    """Reads the report of a version. Raises `DataLoss` if it contradicts itself."""
    has = message.HasField
    return Report(
        head=message.head,
        version=message.version,
        family=message.family,
        spec=spec(message.spec),
        backbone=message.backbone,
        fingerprint=message.fingerprint,
        example_count=message.example_count,
        classes=tuple(map(read_class, message.classes)),
        estimate=read_estimate(message.estimate) if has("estimate") else None,
        l2=message.l2 or None,
        temperature=message.temperature,
        train_seconds=message.train_seconds,
        train_cpu_seconds=message.train_cpu_seconds,
        candidates=tuple(map(_candidate, message.candidates)),
        evaluation=_evaluation(message.evaluation) if has("evaluation") else None,
        test=_evaluation(message.test) if has("test") else None,
        learning_curve=tuple(
            LearningPoint(row.examples, row.accuracy) for row in message.learning_curve
        ),
        likely_mislabelled=tuple(map(_mislabelled, message.likely_mislabelled)),
        near_duplicates=tuple(map(read_near_duplicates, message.near_duplicates)),
        augmentation=_augmentation(message.augmentation) if has("augmentation") else None,
        novelty=_novelty(message.novelty) if has("novelty") else None,
        online=tuple(map(_online, message.online)),
        fine_tuning=_fine_tuning(message.fine_tuning) if has("fine_tuning") else None,
        truncated_count=message.truncated_count,
        seen_held_out_count=message.seen_held_out_count,
        seen_held_out=tuple(message.seen_held_out),
        groups=_groups(message.groups) if has("groups") else None,
        warnings=tuple(message.warnings),
    )


def read_estimate(message: heads_pb2.Estimate) -> Estimate:
    """Reads an accuracy and log-loss."""
    return Estimate(
        method=message.method,
        accuracy=message.accuracy,
        accuracy_low=message.accuracy_low,
        accuracy_high=message.accuracy_high,
        log_loss=message.log_loss,
        examples=message.examples,
        groups=message.groups,
        effective_examples=message.effective_examples,
        optimism=message.optimism,
    )


def read_class(message: heads_pb2.ClassReport) -> ClassReport:
    """Reads the figures of a class."""
    has = message.HasField
    return ClassReport(
        label=message.label,
        examples=message.examples,
        precision=message.precision if has("precision") else None,
        recall=message.recall if has("recall") else None,
        f1=message.f1 if has("f1") else None,
        groups=message.groups,
        no_estimate=message.no_estimate,
    )


def _candidate(message: heads_pb2.Candidate) -> Candidate:
    return Candidate(
        family=message.family,
        l2=message.l2 or None,
        estimate=read_estimate(message.estimate) if message.HasField("estimate") else None,
        chosen=message.chosen,
    )


def _evaluation(message: heads_pb2.Evaluation) -> Evaluation:
    classes = len(message.classes)
    counts = unpack(message.confusion, "uint32", dimensions=2).tolist()
    if list(message.confusion.shape) != [classes, classes]:
        raise DataLoss(f"the confusion matrix of {classes} classes has another shape")
    return Evaluation(
        estimate=read_estimate(message.estimate),
        classes=tuple(map(read_class, message.classes)),
        confusion=tuple(
            tuple(counts[row * classes : (row + 1) * classes]) for row in range(classes)
        ),
        expected_calibration_error=message.expected_calibration_error,
        reliability=tuple(
            ReliabilityBin(row.examples, row.confidence, row.accuracy)
            for row in message.reliability
        ),
    )


def _mislabelled(message: heads_pb2.LikelyMislabelled) -> LikelyMislabelled:
    return LikelyMislabelled(
        digest=message.digest,
        label=message.label,
        predicted_label=message.predicted_label,
        label_probability=message.label_probability,
        predicted_probability=message.predicted_probability,
    )


def read_near_duplicates(message: heads_pb2.NearDuplicates) -> NearDuplicates:
    """Reads a pair of nearly the same inputs."""
    return NearDuplicates(
        digest=message.digest,
        label=message.label,
        other_digest=message.other_digest,
        other_label=message.other_label,
        similarity=message.similarity,
    )


def _augmentation(message: heads_pb2.AugmentationReport) -> AugmentationReport:
    has = message.HasField
    return AugmentationReport(
        views=message.views,
        used=message.used,
        augmented_examples=message.augmented_examples,
        without=read_estimate(message.without),
        as_examples=read_estimate(message.as_examples) if has("as_examples") else None,
        averaged=read_estimate(message.averaged) if has("averaged") else None,
    )


def _groups(message: heads_pb2.GroupReport) -> GroupReport:
    return GroupReport(
        count=message.count,
        named=message.named,
        near_copies_within=message.near_copies_within,
        near_copies_across=message.near_copies_across,
        parted=message.parted,
        missed=message.missed,
    )


def _novelty(message: heads_pb2.NoveltyReport) -> NoveltyReport:
    return NoveltyReport(
        false_alarm_rate=message.false_alarm_rate,
        threshold=message.threshold,
        kept=message.kept,
        neighbour=message.neighbour,
        abstain=message.abstain,
    )


def _online(message: heads_pb2.OnlineAccuracy) -> OnlineAccuracy:
    return OnlineAccuracy(
        feedback=message.feedback,
        scored=message.scored,
        active_accuracy=message.active_accuracy,
        live_accuracy=message.live_accuracy,
        time=replies.time(message.time),
    )


def _fine_tuning(message: heads_pb2.FineTuningReport) -> FineTuningReport:
    has = message.HasField
    return FineTuningReport(
        strategy=message.strategy,
        used=message.used,
        reason=message.reason,
        without_tail=read_estimate(message.without_tail) if has("without_tail") else None,
        with_tail=read_estimate(message.with_tail) if has("with_tail") else None,
        seconds_without=message.seconds_without,
        seconds_with=message.seconds_with,
        bytes_without=message.bytes_without,
        bytes_with=message.bytes_with,
        blocks=tuple(message.blocks),
        epochs=message.epochs,
        curve=tuple(
            TuningEpoch(row.epoch, row.loss, row.validation_loss, row.validation_accuracy)
            for row in message.curve
        ),
        epoch_seconds=message.epoch_seconds,
        views=message.views or "none",
        view_count=message.view_count,
        tried=tuple(map(_view_trial, message.tried)),
        averaged=read_estimate(message.averaged) if has("averaged") else None,
    )


def _view_trial(message: heads_pb2.ViewTrial) -> ViewTrial:
    has = message.HasField
    return ViewTrial(
        views=message.views,
        count=message.count,
        folds=message.folds,
        epochs=message.epochs,
        estimate=read_estimate(message.estimate) if has("estimate") else None,
        without=read_estimate(message.without) if has("without") else None,
        chosen=message.chosen,
        reason=message.reason,
    )
