"""Head specs, read off the wire."""

from __future__ import annotations

import adapters
from service.requests.fields import normalised_labels
from trunkline.v1 import heads_pb2
from trunkline.wire.reading import read


def read_spec(message: heads_pb2.HeadSpec) -> adapters.HeadSpec:
    """Returns the spec as adapters take it, labels in their normal form.

    Raises:
        adapters.InvalidSpec: it makes no sense.
        InvalidRequest: it names one label in two forms.
    """
    forms = normalised_labels(message.class_weights, "class_weights")
    weights = {forms[label]: value for label, value in message.class_weights.items()}
    return read(adapters.HeadSpec, message, class_weights=weights)
