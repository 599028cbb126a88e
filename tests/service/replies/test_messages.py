import pytest

from service.replies.messages import message_of
from service.store.tails import TailRecord
from trunkline.v1 import heads_pb2

TAIL = TailRecord(fingerprint="ff", strategy="gradual", blocks=("a", "b"), size=12)


def test_a_message_takes_what_is_given_and_the_rest_from_the_record() -> None:
    found = message_of(heads_pb2.Tail, TAIL, size_bytes=TAIL.size, strategy="full")
    assert found == heads_pb2.Tail(
        fingerprint="ff", strategy="full", blocks=["a", "b"], size_bytes=12
    )


def test_a_field_that_nothing_gives_is_an_error() -> None:
    with pytest.raises(AttributeError, match="size_bytes"):
        message_of(heads_pb2.Tail, TAIL)
