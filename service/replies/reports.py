"""Reports of versions as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.replies.heads import spec_message, timestamp
from service.requests.tensors import to_tensor
from service.store.online_accuracy import OnlinePoint
from service.store.versions import VersionRecord
from trunkline.v1 import heads_pb2

Json = Mapping[str, Any]

MAX_NAMED = 1000
"""Held-out examples that a report names."""


def report_message(
    head: str, version: VersionRecord, online: Sequence[OnlinePoint] = ()
) -> heads_pb2.HeadReport:
    """Converts a version's report, and how the head has done on feedback, to a message.

    Args:
        head: its resource name.
    """
    report = version.report
    return heads_pb2.HeadReport(
        head=head,
        version=version.version,
        family=report["family"],
        spec=spec_message(report["spec"]),
        backbone=version.backbone,
        fingerprint=version.base_fingerprint,
        example_count=version.example_count,
        classes=[heads_pb2.ClassReport(**item) for item in report["classes"]],
        estimate=_estimate(report["estimate"]),
        l2=report["l2"] or 0.0,
        temperature=report["temperature"],
        train_seconds=report.get("train_seconds", 0.0),
        train_cpu_seconds=report.get("train_cpu_seconds", 0.0),
        candidates=[_candidate(item) for item in report["candidates"]],
        evaluation=_evaluation(report.get("evaluation")),
        test=_evaluation(report.get("test")),
        learning_curve=_each(heads_pb2.LearningPoint, report, "learning_curve"),
        likely_mislabelled=_each(heads_pb2.LikelyMislabelled, report, "likely_mislabelled"),
        near_duplicates=_each(heads_pb2.NearDuplicates, report, "near_duplicates"),
        augmentation=_augmentation(report.get("augmentation")),
        novelty=_novelty(report.get("novelty")),
        online=[_online(point) for point in online],
        fine_tuning=_fine_tuning(report.get("fine_tuning")),
        truncated_count=report.get("truncated_count", 0),
        seen_held_out_count=len(report.get("seen_held_out", ())),
        seen_held_out=report.get("seen_held_out", ())[:MAX_NAMED],
        groups=_groups(report.get("groups")),
        warnings=report.get("warnings", ()),
    )


def _estimate(report: Json | None) -> heads_pb2.Estimate | None:
    return None if report is None else heads_pb2.Estimate(**report)


def _candidate(item: Json) -> heads_pb2.Candidate:
    return heads_pb2.Candidate(
        family=item["family"],
        l2=item["l2"] or 0.0,
        estimate=_estimate(item["estimate"]),
        chosen=item["chosen"],
    )


def _evaluation(report: Json | None) -> heads_pb2.Evaluation | None:
    if report is None:
        return None
    return heads_pb2.Evaluation(
        estimate=_estimate(report["estimate"]),
        classes=[heads_pb2.ClassReport(**item) for item in report["classes"]],
        confusion=to_tensor(np.array(report["confusion"], dtype=np.uint32)),
        expected_calibration_error=report["expected_calibration_error"],
        reliability=[heads_pb2.ReliabilityBin(**item) for item in report["reliability"]],
    )


def _augmentation(report: Json | None) -> heads_pb2.AugmentationReport | None:
    if report is None:
        return None
    estimates = {name: _estimate(report[name]) for name in ("without", "as_examples", "averaged")}
    return heads_pb2.AugmentationReport(**{**report, **estimates})


def _novelty(report: Json | None) -> heads_pb2.NoveltyReport | None:
    return None if report is None else heads_pb2.NoveltyReport(**report)


def _groups(report: Json | None) -> heads_pb2.GroupReport | None:
    return None if report is None else heads_pb2.GroupReport(**report)


def _fine_tuning(report: Json | None) -> heads_pb2.FineTuningReport | None:
    if report is None:
        return None
    names = ("without_tail", "with_tail", "averaged")
    parts = {name: _estimate(report.get(name)) for name in names}
    curve = _each(heads_pb2.TuningEpoch, report, "curve")
    tried = [_view_trial(one) for one in report.get("tried", ())]
    return heads_pb2.FineTuningReport(**{**report, **parts, "curve": curve, "tried": tried})


def _view_trial(report: Json) -> heads_pb2.ViewTrial:
    estimates = {name: _estimate(report[name]) for name in ("estimate", "without")}
    return heads_pb2.ViewTrial(**{**report, **estimates})


def _online(point: OnlinePoint) -> heads_pb2.OnlineAccuracy:
    return heads_pb2.OnlineAccuracy(
        feedback=point.feedback,
        scored=point.scored,
        active_accuracy=point.active_accuracy,
        live_accuracy=point.live_accuracy,
        time=timestamp(point.time),
    )


def _each(kind: Any, report: Json, name: str) -> list[Any]:
    return [kind(**item) for item in report.get(name, ())]
