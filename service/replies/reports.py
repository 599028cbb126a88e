"""Reports of versions as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from service.replies.decisions import curve_message, decide_message
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
    head: str,
    version: VersionRecord,
    online: Sequence[OnlinePoint] = (),
    names: Mapping[str, str] = MappingProxyType({}),
    rule: Mapping[str, float] | None = None,
) -> heads_pb2.HeadReport:
    """Converts a version's report, and how the head has done on feedback, to a message.

    What is stored has the fields of its messages, and a message takes its parts as they are.

    Args:
        head: its resource name.
        names: external ids of `examples_named` by their digests.
        rule: by which the head accepts answers; None for none.
    """
    report = version.report
    decisions = report.get("decisions")
    decide = decide_message(rule, version.version, version.source, decisions)
    seen = report.get("seen_held_out", ())[:MAX_NAMED]
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
        likely_mislabelled=_named(report.get("likely_mislabelled"), names),
        near_duplicates=_named(report.get("near_duplicates"), names),
        augmentation=report.get("augmentation"),
        novelty=report.get("novelty"),
        online=[
            message_of(heads_pb2.OnlineAccuracy, point, time=timestamp(point.time))
            for point in online
        ],
        fine_tuning=report.get("fine_tuning"),
        truncated_count=report.get("truncated_count", 0),
        description_count=report.get("description_count", 0),
        seen_held_out_count=len(report.get("seen_held_out", ())),
        seen_held_out=seen,
        seen_held_out_external_ids=[names.get(digest, "") for digest in seen],
        groups=report.get("groups"),
        warnings=report.get("warnings"),
        decisions=curve_message(decisions, decide),
    )


def examples_named(report: Json) -> list[str]:
    """Returns the digests by which a stored report names examples."""
    suspects, pairs = (report.get(name) or () for name in ("likely_mislabelled", "near_duplicates"))
    return [
        *(row["digest"] for row in suspects),
        *(row[key] for row in pairs for key in ("digest", "other_digest")),
        *report.get("seen_held_out", ())[:MAX_NAMED],
    ]


def _named(rows: Sequence[Json] | None, names: Mapping[str, str]) -> list[Any]:
    """Returns the rows with the external ids of the examples that they are about."""
    return [_with_ids(row, names) for row in rows or ()]


def _with_ids(row: Json, names: Mapping[str, str]) -> Json:
    ids = {
        key.replace("digest", "external_id"): names.get(row[key])
        for key in ("digest", "other_digest")
        if key in row
    }
    return {**row, **ids}


def _evaluation(report: Json | None) -> heads_pb2.Evaluation | None:
    if report is None:
        return None
    confusion = to_tensor(np.array(report["confusion"], dtype=np.uint32))
    return heads_pb2.Evaluation(**{**report, "confusion": confusion})
