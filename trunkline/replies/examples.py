"""Examples and suggestions, as they come over the wire."""

from trunkline.v1 import common_pb2, heads_pb2
from trunkline.values.examples import (
    Example,
    SimilarExample,
    SimilarExamples,
    Suggestion,
    Suggestions,
)
from trunkline.values.inputs import Image, Input, Pixels, Text, Vector
from trunkline.wire.reading import read
from trunkline.wire.tensors import unpack


def example(message: heads_pb2.Example) -> Example:
    """Reads a stored example."""
    return read(
        Example,
        message,
        weight=message.weight or 1.0,
        metadata=dict(sorted(message.metadata.pairs.items())),
        input=read_input(message.input),
    )


def similar(message: heads_pb2.FindSimilarResponse) -> SimilarExamples:
    """Reads the examples that are nearest to an input."""
    found = (SimilarExample(example(row.example), row.similarity) for row in message.similar)
    return read(SimilarExamples, message, similar=tuple(found))


def suggestions(message: heads_pb2.SuggestExamplesResponse) -> Suggestions:
    """Reads the inputs that are most worth a label."""
    found = tuple(
        read(Suggestion, row, example=example(row.example), input=read_input(row.input))
        for row in message.suggestions
    )
    return Suggestions(found, message.strategy)


def read_input(message: common_pb2.Input) -> Input | None:
    """Reads an input that came along; None for none."""
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
