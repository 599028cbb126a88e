"""Head specs, read off the wire."""

from __future__ import annotations

import adapters
from adapters.spec import Augmentation, FineTune, NoveltySpec
from service.requests.fields import normalised_labels
from trunkline.v1 import heads_pb2


def read_spec(message: heads_pb2.HeadSpec) -> adapters.HeadSpec:
    """Returns the spec as adapters take it, labels in their normal form.

    Raises:
        adapters.InvalidSpec: it makes no sense.
        InvalidRequest: it names one label in two forms.
    """
    default = adapters.HeadSpec()
    forms = normalised_labels(message.class_weights, "class_weights")
    return adapters.HeadSpec(
        family=message.family or default.family,
        seed=message.seed,
        l2=message.l2 if message.HasField("l2") else None,
        front=message.front or default.front,
        class_weight=message.class_weight or None,
        class_weights={forms[label]: value for label, value in message.class_weights.items()},
        augment=Augmentation(
            views=message.augment.views, noise=message.augment.noise or default.augment.noise
        ),
        novelty=_read_novelty(message.novelty) if message.HasField("novelty") else None,
        fine_tune=_read_fine_tune(message.fine_tune),
        average_views=message.average_views,
    )


def _read_novelty(message: heads_pb2.Novelty) -> NoveltySpec:
    rate = message.false_alarm_rate or NoveltySpec().false_alarm_rate
    return NoveltySpec(false_alarm_rate=rate, abstain=message.abstain)


def _read_fine_tune(message: heads_pb2.FineTune) -> FineTune:
    default = FineTune()
    return FineTune(
        strategy=message.strategy or default.strategy,
        max_epochs=message.max_epochs or default.max_epochs,
        learning_rate=message.learning_rate or default.learning_rate,
        rate_decay=message.rate_decay or default.rate_decay,
        views=message.views if message.HasField("views") else None,
        flips=message.flips,
    )
