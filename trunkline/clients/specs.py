"""Specs and policies of heads as they go over the wire."""

from trunkline.replies.heads import POLICIES
from trunkline.v1 import heads_pb2
from trunkline.values.heads import HeadSpec, Policy
from trunkline.wire.building import build
from trunkline.wire.names import one_of


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


def policy_number(value: Policy | str | None) -> heads_pb2.FeedbackPolicy.ValueType | None:
    """Returns the number of a policy. Raises `InvalidArgument` for one that is not known."""
    return None if value is None else POLICIES[one_of(Policy, value, field="policy")]
