"""Heads, their specs, versions and live copies, as they come over the wire."""

from trunkline import replies
from trunkline.v1 import heads_pb2
from trunkline.values.heads import (
    Augmentation,
    Drift,
    Dropped,
    Export,
    FineTune,
    Head,
    HeadSpec,
    LiveCopy,
    LiveState,
    Novelty,
    Policy,
    Promoted,
    Tail,
    Version,
)

POLICIES = {
    Policy.IMMEDIATE: heads_pb2.FEEDBACK_POLICY_IMMEDIATE,
    Policy.GATED: heads_pb2.FEEDBACK_POLICY_GATED,
    Policy.MANUAL: heads_pb2.FEEDBACK_POLICY_MANUAL,
}

_POLICIES: dict[int, Policy] = {
    heads_pb2.FEEDBACK_POLICY_UNSPECIFIED: Policy.GATED,
    **{number: policy for policy, number in POLICIES.items()},
}
_LIVE_STATES: dict[int, LiveState] = {
    heads_pb2.LIVE_STATE_IDLE: LiveState.IDLE,
    heads_pb2.LIVE_STATE_LEARNING: LiveState.LEARNING,
    heads_pb2.LIVE_STATE_SERVING: LiveState.SERVING,
    heads_pb2.LIVE_STATE_HELD_BACK: LiveState.HELD_BACK,
    heads_pb2.LIVE_STATE_UNAVAILABLE: LiveState.UNAVAILABLE,
}


def spec(message: heads_pb2.HeadSpec) -> HeadSpec:
    """Reads a head's spec."""
    standard = HeadSpec()
    return HeadSpec(
        family=message.family or standard.family,
        seed=message.seed,
        l2=message.l2 if message.HasField("l2") else None,
        front=message.front or standard.front,
        class_weight=message.class_weight or None,
        class_weights=dict(message.class_weights),
        augment=Augmentation(message.augment.views, message.augment.noise or Augmentation().noise),
        novelty=_novelty(message.novelty) if message.HasField("novelty") else None,
        fine_tune=_fine_tune(message.fine_tune),
        average_views=message.average_views or None,
    )


def head(message: heads_pb2.Head) -> Head:
    """Reads a head."""
    return Head(
        name=message.name,
        uid=message.uid,
        backbone=message.backbone,
        fingerprint=message.fingerprint,
        spec=spec(message.spec),
        keep_inputs=message.keep_inputs,
        active_version=message.active_version or None,
        labels=tuple(message.labels),
        example_count=message.example_count,
        labelled_count=message.labelled_count,
        feedback_count=message.feedback_count,
        create_time=replies.time(message.create_time),
        training=message.training or None,
        policy=replies.state(_POLICIES, message.policy, "policy"),
        allow_new_labels=message.allow_new_labels,
        live=_live(message.live) if message.HasField("live") else None,
        held_out_count=message.held_out_count,
        quarantined_count=message.quarantined_count,
    )


def version(message: heads_pb2.HeadVersion) -> Version:
    """Reads a version."""
    return Version(
        name=message.name,
        version=message.version,
        active=message.active,
        source=message.source,
        family=message.family,
        spec=spec(message.spec),
        labels=tuple(message.labels),
        backbone=message.backbone,
        fingerprint=message.fingerprint,
        example_count=message.example_count,
        create_time=replies.time(message.create_time),
        tail=_tail(message.tail) if message.HasField("tail") else None,
    )


def export(message: heads_pb2.ExportHeadResponse) -> Export:
    """Reads an exported version."""
    return Export(
        version=version(message.version),
        safetensors=message.safetensors,
        onnx=message.onnx or None,
        model_card=message.model_card,
        tail=message.tail or None,
    )


def promoted(message: heads_pb2.PromoteLiveCopyResponse) -> Promoted:
    """Reads what became of a live copy that was promoted."""
    return Promoted(head(message.head), version(message.version))


def dropped(message: heads_pb2.DropLiveCopyResponse) -> Dropped:
    """Reads what became of a live copy that was dropped."""
    return Dropped(head(message.head), message.quarantined)


def _novelty(message: heads_pb2.Novelty) -> Novelty:
    rate = message.false_alarm_rate or Novelty().false_alarm_rate
    return Novelty(rate, message.abstain)


def _fine_tune(message: heads_pb2.FineTune) -> FineTune | None:
    """Reads how to fine-tune; None for the strategy "none", also that of a missing message."""
    if message.strategy in ("", "none"):
        return None
    standard = FineTune(message.strategy)
    return FineTune(
        strategy=message.strategy,
        max_epochs=message.max_epochs or standard.max_epochs,
        learning_rate=message.learning_rate or standard.learning_rate,
        rate_decay=message.rate_decay or standard.rate_decay,
        views=message.views if message.HasField("views") else None,
        flips=message.flips,
    )


def _tail(message: heads_pb2.Tail) -> Tail:
    return Tail(
        fingerprint=message.fingerprint,
        strategy=message.strategy,
        blocks=tuple(message.blocks),
        size_bytes=message.size_bytes,
    )


def _live(message: heads_pb2.LiveCopy) -> LiveCopy:
    has = message.HasField
    return LiveCopy(
        state=replies.state(_LIVE_STATES, message.state, "state of a live copy"),
        reason=message.reason,
        base_version=message.base_version or None,
        example_count=message.example_count,
        feedback_count=message.feedback_count,
        labels=tuple(message.labels),
        scored=message.scored,
        active_right=message.active_right,
        live_right=message.live_right,
        evidence_better=message.evidence_better,
        evidence_worse=message.evidence_worse,
        error_rate=message.error_rate,
        active_leave_one_out=message.active_leave_one_out if has("active_leave_one_out") else None,
        live_leave_one_out=message.live_leave_one_out if has("live_leave_one_out") else None,
        drift=_drift(message.drift),
        near_copies=message.near_copies,
        family=message.family,
        chosen_on=message.chosen_on,
    )


def _drift(message: heads_pb2.Drift) -> Drift:
    return Drift(
        detected=message.detected,
        time=replies.time(message.time) if message.HasField("time") else None,
        window=message.window,
        accuracy=message.accuracy,
    )
