"""Heads, versions, trainings and examples as messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

import adapters
from adapters.spec import Augmentation, FineTune
from service.capture.rules import capture_message
from service.replies.decisions import decide_message
from service.replies.messages import message_of
from service.store.examples import ExampleRecord
from service.store.head_records import HeadRecord
from service.store.head_summaries import HeadSummary
from service.store.jobs import JobRecord, JobState
from service.store.versions import VersionRecord
from trunkline.v1 import common_pb2, heads_pb2


def spec_message(stored: Mapping[str, Any]) -> heads_pb2.HeadSpec:
    """Converts a stored spec to its message."""
    spec = adapters.HeadSpec.from_json(stored)
    values = asdict(spec) | {"average_views": spec.average_views or None}
    if spec.augment == Augmentation():
        del values["augment"]
    if spec.fine_tune in (FineTune(), FineTune(views=0)):  # the latter: as it was once stored
        del values["fine_tune"]
    return heads_pb2.HeadSpec(**values)


def head_message(summary: HeadSummary) -> heads_pb2.Head:
    """Converts a head to its message, without its live copy."""
    head, counts, created_at = summary.head, summary.counts, summary.active_created_at
    return message_of(
        heads_pb2.Head,
        head,
        name=head.resource,
        spec=spec_message(head.spec),
        labels=summary.labels,
        example_count=counts.examples,
        labelled_count=counts.labelled,
        feedback_count=counts.feedback,
        create_time=timestamp(head.created_at),
        training=f"{head.resource}/trainings/{summary.training}" if summary.training else "",
        policy=heads_pb2.FeedbackPolicy.Value(f"FEEDBACK_POLICY_{head.policy.upper()}"),
        held_out_count=counts.held_out,
        quarantined_count=counts.quarantined,
        live=None,
        estimate=summary.estimate,
        capture=capture_message(head.capture),
        capture_count=counts.captured,
        active_version_time=None if created_at is None else timestamp(created_at),
        decide=decide_message(head.decide, head.active_version, summary.source, summary.decisions),
        described=summary.described,
        label_descriptions=None,
    )


def texts_of(inputs: Mapping[str, bytes]) -> dict[str, str]:
    """Returns the texts of serialised inputs by their labels."""
    return {label: common_pb2.Input.FromString(data).text for label, data in inputs.items()}


def version_message(head: HeadRecord, version: VersionRecord) -> heads_pb2.HeadVersion:
    """Converts a version, without its weights, to its message."""
    report = version.report
    tail = version.tail
    return message_of(
        heads_pb2.HeadVersion,
        version,
        name=f"{head.resource}/versions/{version.version}",
        active=version.version == head.active_version,
        family=report["family"],
        spec=spec_message(report["spec"]),
        fingerprint=version.base_fingerprint,
        create_time=timestamp(version.created_at),
        tail=tail and message_of(heads_pb2.Tail, tail, size_bytes=tail.size),
        estimate=report["estimate"],
        description_count=report.get("description_count", 0),
    )


def training_message(
    head: str,
    job: JobRecord,
    phase: str = "",
    progress: float = 0.0,
    tuning: heads_pb2.TuningProgress | None = None,
) -> heads_pb2.Training:
    """Converts a job of the head with this resource name; `tuning` while blocks are fine-tuned."""
    done = job.state is JobState.SUCCEEDED
    return message_of(
        heads_pb2.Training,
        job,
        name=f"{head}/trainings/{job.id}",
        state=heads_pb2.TrainingState.Value(f"TRAINING_STATE_{job.state.name}"),
        phase="" if job.state.final else phase,
        progress=1.0 if done else progress,
        create_time=timestamp(job.created_at),
        end_time=None if job.ended_at is None else timestamp(job.ended_at),
        tuning=None if job.state.final else tuning,
        activated=done and job.inactive_reason is None,
        inactive_reason=job.inactive_reason or "",
    )


def example_message(example: ExampleRecord) -> heads_pb2.Example:
    """Converts an example, without its embedding and its input, to its message."""
    return message_of(
        heads_pb2.Example,
        example,
        create_time=timestamp(example.created_at),
        metadata=common_pb2.Metadata(pairs=example.metadata) if example.metadata else None,
        reviewer=key_name(example.reviewer),
        input=None,
    )


def key_name(key: str | None) -> str:
    """Returns the resource name of a key by its id; "" for none."""
    return f"keys/{key}" if key else ""


def timestamp(seconds: float) -> Timestamp:
    """Converts seconds since the epoch to a message."""
    message = Timestamp()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
