"""Examples, suggestions and feedback, as they come over the wire."""

from trunkline import replies
from trunkline.v1 import common_pb2, heads_pb2
from trunkline.values.examples import (
    Example,
    FeedbackRecord,
    FeedbackState,
    Suggestion,
    Suggestions,
)
from trunkline.values.inputs import Image, Input, Pixels, Text, Vector
from trunkline.values.outcomes import Forgotten
from trunkline.wire.tensors import unpack

FEEDBACK_STATES = {
    FeedbackState.LIVE: heads_pb2.FEEDBACK_STATE_LIVE,
    FeedbackState.LEARNED: heads_pb2.FEEDBACK_STATE_LEARNED,
    FeedbackState.QUARANTINED: heads_pb2.FEEDBACK_STATE_QUARANTINED,
    FeedbackState.SUPERSEDED: heads_pb2.FEEDBACK_STATE_SUPERSEDED,
}

_FEEDBACK_STATES: dict[int, FeedbackState] = {
    number: state for state, number in FEEDBACK_STATES.items()
}


def example(message: heads_pb2.Example) -> Example:
    """Reads a stored example."""
    return Example(
        digest=message.digest,
        label=message.label if message.HasField("label") else None,
        kind=message.kind,
        source=message.source,
        has_input=message.has_input,
        create_time=replies.time(message.create_time),
        weight=message.weight or 1.0,
        held_out=message.held_out,
        truncated=message.truncated,
        group=message.group if message.HasField("group") else None,
    )


def suggestions(message: heads_pb2.SuggestExamplesResponse) -> Suggestions:
    """Reads the inputs that are most worth a label."""
    found = tuple(
        Suggestion(
            example=example(row.example),
            predicted_label=row.predicted_label or None,
            probability=row.probability,
            input=_input(row.input),
        )
        for row in message.suggestions
    )
    return Suggestions(found, message.strategy)


def feedback(message: heads_pb2.FeedbackRecord) -> FeedbackRecord:
    """Reads a stored feedback."""
    has = message.HasField
    return FeedbackRecord(
        id=message.id,
        digest=message.digest,
        label=message.label,
        state=replies.state(_FEEDBACK_STATES, message.state, "state of a feedback"),
        active_version=message.active_version or None,
        active_right=message.active_right if has("active_right") else None,
        live_right=message.live_right if has("live_right") else None,
        create_time=replies.time(message.create_time),
    )


def forgotten(message: heads_pb2.ForgetExamplesResponse) -> Forgotten:
    """Reads what became of a call to forget examples."""
    return Forgotten(
        forgotten=message.forgotten,
        failures=tuple(replies.failure(row) for row in message.errors),
        deleted_versions=tuple(message.deleted_versions),
        version=message.version or None,
        held_by=tuple(message.held_by),
    )


def _input(message: common_pb2.Input) -> Input | None:
    match message.WhichOneof("kind"):
        case "image":
            return Image(message.image)
        case "text":
            return Text(message.text)
        case "text_utf8":
            return Text(message.text_utf8)
        case "pixels":
            values = unpack(message.pixels, "uint8", dimensions=3)
            return Pixels(memoryview(values).cast("B", tuple(message.pixels.shape)))
        case "embedding":
            vector = unpack(message.embedding.vector, "float32", dimensions=1)
            return Vector(message.embedding.fingerprint, vector)
    return None
