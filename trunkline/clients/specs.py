"""Specs, policies and states as they go over the wire."""

from dataclasses import asdict

from trunkline.v1 import heads_pb2
from trunkline.values.examples import FeedbackState
from trunkline.values.heads import HeadSpec, Policy
from trunkline.wire.building import build
from trunkline.wire.names import one_of


def spec_message(spec: HeadSpec | None) -> heads_pb2.HeadSpec | None:
    """Returns the spec as it goes over the wire."""
    if spec is None:
        return None
    novelty, tune = spec.novelty, spec.fine_tune
    return build(
        heads_pb2.HeadSpec,
        family=spec.family,
        seed=spec.seed,
        l2=spec.l2,
        front=spec.front,
        class_weight=spec.class_weight or "",
        class_weights=spec.class_weights,
        augment=build(heads_pb2.Augmentation, **asdict(spec.augment)),
        novelty=None if novelty is None else build(heads_pb2.Novelty, **asdict(novelty)),
        fine_tune=None if tune is None else build(heads_pb2.FineTune, **asdict(tune)),
        average_views=spec.average_views,
    )


def policy_number(value: Policy | str | None) -> heads_pb2.FeedbackPolicy.ValueType | None:
    """Returns the number of a policy. Raises `InvalidArgument` for one that is not known."""
    if value is None:
        return None
    known = one_of(Policy, value, field="policy")
    return heads_pb2.FeedbackPolicy.Value(f"FEEDBACK_POLICY_{known.name}")


def state_number(value: FeedbackState | str | None) -> heads_pb2.FeedbackState.ValueType:
    """Returns the number of a feedback's state. Raises `InvalidArgument` for one not known."""
    if not value:
        return heads_pb2.FEEDBACK_STATE_UNSPECIFIED
    known = one_of(FeedbackState, value, field="state")
    return heads_pb2.FeedbackState.Value(f"FEEDBACK_STATE_{known.name}")
