"""Reports of versions as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.replies.heads import spec_message, timestamp
from service.replies.messages import message_of
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

    What is stored has the fields of its messages, and a message takes its parts as they are.

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
        classes=report["classes"],
        estimate=report["estimate"],
        l2=report["l2"] or 0.0,
        temperature=report["temperature"],
        train_seconds=report.get("train_seconds", 0.0),
        train_cpu_seconds=report.get("train_cpu_seconds", 0.0),
        candidates=report["candidates"],
        evaluation=_evaluation(report.get("evaluation")),
        test=_evaluation(report.get("test")),
        learning_curve=report.get("learning_curve"),
        likely_mislabelled=report.get("likely_mislabelled"),
        near_duplicates=report.get("near_duplicates"),
        augmentation=report.get("augmentation"),
        novelty=report.get("novelty"),
        online=[
            message_of(heads_pb2.OnlineAccuracy, point, time=timestamp(point.time))
            for point in online
        ],
        fine_tuning=report.get("fine_tuning"),
        truncated_count=report.get("truncated_count", 0),
        seen_held_out_count=len(report.get("seen_held_out", ())),
        seen_held_out=report.get("seen_held_out", ())[:MAX_NAMED],
        groups=report.get("groups"),
        warnings=report.get("warnings"),
    )


def _evaluation(report: Json | None) -> heads_pb2.Evaluation | None:
    if report is None:
        return None
    confusion = to_tensor(np.array(report["confusion"], dtype=np.uint32))
    return heads_pb2.Evaluation(**{**report, "confusion": confusion})
