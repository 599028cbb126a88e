"""Values are read from messages by the names and types of their fields."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, cast

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from tests.trunkline import sample_reports
from trunkline import Backbone, DataLoss, FeedbackRecord, HeadSpec, Novelty, Training
from trunkline.replies import examples, heads
from trunkline.replies.advice import advice as read_advice
from trunkline.replies.reports import report as read_report
from trunkline.v1 import advice_pb2, common_pb2, extraction_pb2, heads_pb2
from trunkline.values.outcomes import RowFailure
from trunkline.wire.reading import read

READERS: list[tuple[type[Message], Callable[[Any], Any]]] = [
    (extraction_pb2.Backbone, partial(read, Backbone)),
    (heads_pb2.Training, partial(read, Training)),
    (heads_pb2.Head, heads.head),
    (heads_pb2.HeadVersion, heads.version),
    (heads_pb2.Example, examples.example),
    (heads_pb2.FeedbackRecord, partial(read, FeedbackRecord)),
    (heads_pb2.HeadReport, read_report),
    (
        advice_pb2.Advice,
        lambda message: read_advice(message, [RowFailure(1, "A", "b", "c", "d", "e")], 1),
    ),
]


def filled(kind: type[Message]) -> Message:
    """A message that has all of its fields, none of them at zero."""
    if kind is common_pb2.Tensor:
        return sample_reports.evaluation(["a"], [[1]]).confusion
    if kind is common_pb2.Input:
        pixel = common_pb2.Tensor(dtype="uint8", shape=[1, 1, 3], data=b"abc")
        return common_pb2.Input(pixels=pixel)
    if kind is Timestamp:
        return Timestamp(seconds=1)
    values: dict[str, Any] = {}
    for field in kind.DESCRIPTOR.fields:
        of = field.message_type
        if of is None:
            one: Any = "a" if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else 1
        elif of.GetOptions().map_entry:
            texts = of.fields_by_name["value"].cpp_type == FieldDescriptor.CPPTYPE_STRING
            values[field.name] = {"a": "b" if texts else 1}
            continue
        else:
            one = filled(GetMessageClass(cast(Descriptor, of)))
        values[field.name] = [one] if field.is_repeated else one
    return kind(**values)


def without_a_value(value: Any) -> Iterator[str]:
    """Fields that nothing was read into, in the value and in those that it is made of."""
    for field in fields(value):
        found = getattr(value, field.name)
        if not found:
            yield f"{type(value).__name__}.{field.name}"
        for part in found if isinstance(found, tuple) else (found,):
            yield from without_a_value(part) if is_dataclass(part) else ()


@pytest.mark.parametrize(("kind", "read"), READERS)
def test_every_field_of_a_message_reaches_the_value(
    kind: type[Message], read: Callable[[Any], Any]
) -> None:
    value = read(filled(kind))
    assert not list(without_a_value(value))
    assert set(kind.DESCRIPTOR.fields_by_name) <= {field.name for field in fields(value)}


def test_what_is_missing_is_none_or_the_default_of_the_value() -> None:
    spec = heads.spec(heads_pb2.HeadSpec(novelty=heads_pb2.Novelty(abstain=True)))
    assert spec == HeadSpec(novelty=Novelty(abstain=True))
    head = heads.head(heads_pb2.Head(name="a", policy=heads_pb2.FEEDBACK_POLICY_MANUAL))
    assert (head.active_version, head.training, head.live) == (None, None, None)
    assert (head.example_count, head.labels) == (0, ())


def test_a_zero_that_was_sent_is_no_missing_number() -> None:
    row = heads_pb2.ClassReport(label="a", examples=3, precision=0.0)
    [found] = read_report(heads_pb2.HeadReport(classes=[row])).classes
    assert (found.precision, found.recall) == (0.0, None)


@pytest.mark.parametrize("number", [0, 77])
def test_a_number_that_this_client_does_not_know_is_lost_data(number: Any) -> None:
    with pytest.raises(DataLoss, match=f"unknown training state: {number}"):
        read(Training, heads_pb2.Training(state=number))
