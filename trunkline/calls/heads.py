"""The RPCs about heads, their versions, reports and live copies."""

from collections.abc import Sequence
from typing import Any

from trunkline.calls import (
    HEADS,
    PAGE_SIZE,
    Call,
    Page,
    head_name,
    one_of,
    tenant_name,
    version_name,
)
from trunkline.replies import heads as replies
from trunkline.replies.reports import report as read_report
from trunkline.v1 import heads_pb2
from trunkline.values.heads import Dropped, Export, Head, HeadSpec, Policy, Promoted, Version
from trunkline.values.reports import Report
from trunkline.wire.building import build


def create_head(
    head: str,
    backbone: str,
    spec: HeadSpec | None,
    keep_inputs: bool,
    policy: Policy | str | None,
    allow_new_labels: bool,
) -> Call[Head]:
    """Builds the call `CreateHead`."""
    name = head_name(head)
    request = build(
        heads_pb2.CreateHeadRequest,
        parent=str(name.parent),
        head_id=name.head,
        backbone=backbone,
        spec=spec_message(spec),
        keep_inputs=keep_inputs,
        policy=_policy(policy) or heads_pb2.FEEDBACK_POLICY_UNSPECIFIED,
        allow_new_labels=allow_new_labels,
    )
    return Call(HEADS, "CreateHead", request, _head, idempotent=False)


def update_head(
    head: str, spec: HeadSpec | None, policy: Policy | str | None, allow_new_labels: bool | None
) -> Call[Head]:
    """Builds the call `UpdateHead`; what is None stays as it is."""
    request = build(
        heads_pb2.UpdateHeadRequest,
        name=str(head_name(head)),
        spec=spec_message(spec),
        policy=_policy(policy),
        allow_new_labels=allow_new_labels,
    )
    return Call(HEADS, "UpdateHead", request, _head)


def promote_live_copy(head: str) -> Call[Promoted]:
    """Builds the call `PromoteLiveCopy`."""
    request = build(heads_pb2.PromoteLiveCopyRequest, head=str(head_name(head)))
    return Call(HEADS, "PromoteLiveCopy", request, replies.promoted, idempotent=False)


def drop_live_copy(head: str) -> Call[Dropped]:
    """Builds the call `DropLiveCopy`."""
    request = build(heads_pb2.DropLiveCopyRequest, head=str(head_name(head)))
    return Call(HEADS, "DropLiveCopy", request, replies.dropped, idempotent=False)


def get_head(head: str) -> Call[Head]:
    """Builds the call `GetHead`."""
    return Call(HEADS, "GetHead", build(heads_pb2.GetHeadRequest, name=str(head_name(head))), _head)


def list_heads(tenant: str, token: str) -> Call[Page[Head]]:
    """Builds the call `ListHeads`, for one page."""
    request = build(
        heads_pb2.ListHeadsRequest,
        parent=str(tenant_name(tenant)),
        page_size=PAGE_SIZE,
        page_token=token,
    )
    return Call(
        HEADS,
        "ListHeads",
        request,
        lambda reply: Page([replies.head(row) for row in reply.heads], reply.next_page_token),
    )


def delete_head(head: str) -> Call[None]:
    """Builds the call `DeleteHead`."""
    request = build(heads_pb2.DeleteHeadRequest, name=str(head_name(head)))
    return Call(HEADS, "DeleteHead", request, lambda _: None, idempotent=False)


def import_head(
    head: str,
    safetensors: bytes,
    backbone: str,
    fingerprint: str,
    labels: Sequence[str],
    activate: bool,
) -> Call[Version]:
    """Builds the call `ImportHead`."""
    name = head_name(head)
    request = build(
        heads_pb2.ImportHeadRequest,
        parent=str(name.parent),
        head_id=name.head,
        backbone=backbone,
        fingerprint=fingerprint,
        safetensors=safetensors,
        labels=labels,
        activate=activate,
    )
    return Call(
        HEADS,
        "ImportHead",
        request,
        lambda reply: replies.version(reply.version),
        idempotent=False,
    )


def export_head(head: str, version: int | None, onnx: bool) -> Call[Export]:
    """Builds the call `ExportHead`."""
    request = build(
        heads_pb2.ExportHeadRequest, name=str(head_name(head)), version=version or 0, onnx=onnx
    )
    return Call(HEADS, "ExportHead", request, replies.export)


def list_versions(head: str, token: str) -> Call[Page[Version]]:
    """Builds the call `ListHeadVersions`, for one page."""
    request = build(
        heads_pb2.ListHeadVersionsRequest,
        head=str(head_name(head)),
        page_size=PAGE_SIZE,
        page_token=token,
    )
    return Call(
        HEADS,
        "ListHeadVersions",
        request,
        lambda reply: Page([replies.version(row) for row in reply.versions], reply.next_page_token),
    )


def get_version(head: str, version: int | None) -> Call[Version]:
    """Builds the call `GetHeadVersion`."""
    request = build(heads_pb2.GetHeadVersionRequest, name=str(version_name(head, version)))
    return Call(HEADS, "GetHeadVersion", request, lambda reply: replies.version(reply.version))


def activate(head: str, version: int) -> Call[Head]:
    """Builds the call `ActivateHeadVersion`."""
    request = build(heads_pb2.ActivateHeadVersionRequest, name=str(version_name(head, version)))
    return Call(HEADS, "ActivateHeadVersion", request, _head)


def report(head: str, version: int | None) -> Call[Report]:
    """Builds the call `GetHeadReport`."""
    request = build(heads_pb2.GetHeadReportRequest, name=str(version_name(head, version)))
    return Call(HEADS, "GetHeadReport", request, lambda reply: read_report(reply.report))


def spec_message(spec: HeadSpec | None) -> heads_pb2.HeadSpec | None:
    """Returns the spec as it goes over the wire."""
    if spec is None:
        return None
    augment, novelty, tune = spec.augment, spec.novelty, spec.fine_tune
    return build(
        heads_pb2.HeadSpec,
        family=spec.family,
        seed=spec.seed,
        l2=spec.l2,
        front=spec.front,
        class_weight=spec.class_weight or "",
        class_weights=spec.class_weights,
        augment=build(heads_pb2.Augmentation, views=augment.views, noise=augment.noise),
        novelty=None
        if novelty is None
        else build(
            heads_pb2.Novelty, false_alarm_rate=novelty.false_alarm_rate, abstain=novelty.abstain
        ),
        fine_tune=None
        if tune is None
        else build(
            heads_pb2.FineTune,
            strategy=tune.strategy,
            max_epochs=tune.max_epochs,
            learning_rate=tune.learning_rate,
            rate_decay=tune.rate_decay,
            views=tune.views,
            flips=tune.flips,
        ),
        average_views=spec.average_views,
    )


def _policy(value: Policy | str | None) -> heads_pb2.FeedbackPolicy.ValueType | None:
    return None if value is None else replies.POLICIES[one_of(Policy, value, field="policy")]


def _head(reply: Any) -> Head:
    return replies.head(reply.head)
