"""Reviews, as they come over the wire."""

from trunkline.replies.examples import read_input
from trunkline.v1 import reviews_pb2
from trunkline.values.reviews import Review
from trunkline.wire.reading import read


def review(message: reviews_pb2.Review) -> Review:
    """Reads a captured input."""
    return read(
        Review,
        message,
        answer={row.label: row.probability for row in message.answer},
        metadata=dict(message.metadata.pairs),
        input=read_input(message.input),
    )
