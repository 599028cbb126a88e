"""Head specs, and rules of decisions, read off the wire."""

from __future__ import annotations

from dataclasses import asdict

import adapters
from service.errors import InvalidRequest
from service.requests.fields import normalised_labels
from trunkline.v1 import heads_pb2
from trunkline.wire.reading import read

DEFAULT_CONFIDENCE = 0.95


def read_spec(message: heads_pb2.HeadSpec) -> adapters.HeadSpec:
    """Returns the spec as adapters take it, labels in their normal form.

    Raises:
        adapters.InvalidSpec: it makes no sense.
        InvalidRequest: it names one label in two forms.
    """
    forms = normalised_labels(message.class_weights, "class_weights")
    weights = {forms[label]: value for label, value in message.class_weights.items()}
    return read(adapters.HeadSpec, message, class_weights=weights)


def read_decide(message: heads_pb2.Decide) -> dict[str, float]:
    """Returns a rule of decisions, as it is stored.

    Raises:
        adapters.InvalidSpec: it wants what is out of range.
        InvalidRequest: it says what is accepted, which only the server does.
    """
    if message.HasField("acceptance"):
        raise InvalidRequest.at(
            "decide.acceptance", "is chosen by the server, and must be absent", "absent", "present"
        )
    rule = adapters.DecisionRule(message.precision, message.confidence or DEFAULT_CONFIDENCE)
    return asdict(rule)
