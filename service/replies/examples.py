"""Examples as messages, with their inputs where they are kept and fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.replies.heads import example_message
from service.store.examples import ExampleRecord
from trunkline.v1 import common_pb2, heads_pb2


def example_messages(
    examples: Sequence[ExampleRecord], inputs: Mapping[str, bytes]
) -> list[heads_pb2.Example]:
    """Converts examples to messages; `inputs` are serialised ones, by digest."""
    messages = [example_message(example) for example in examples]
    for message in messages:
        if message.digest in inputs:
            message.input.CopyFrom(common_pb2.Input.FromString(inputs[message.digest]))
    return messages
