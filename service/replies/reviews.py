"""Reviews, judgements and the accuracy of what was served, as messages; and their enums."""

from __future__ import annotations

from collections.abc import Iterable

from adapters.served_accuracy import Accuracy, ClassAccuracy
from service.errors import InvalidRequest
from service.replies.heads import key_name, timestamp
from service.replies.messages import message_of
from service.store.captures import CaptureRecord, CaptureState
from service.store.judgements import Judged
from trunkline.v1 import common_pb2, reviews_pb2

_STATES = {reviews_pb2.ReviewState.Value(f"REVIEW_STATE_{s.name}"): s for s in CaptureState}
_NUMBERS = {state: number for number, state in _STATES.items()}


def read_review_state(number: reviews_pb2.ReviewState.ValueType) -> CaptureState | None:
    """Returns the state that a request names; None if it names none.

    Raises:
        InvalidRequest: there is none of this number.
    """
    state = _STATES.get(number)
    if state is None and number != reviews_pb2.REVIEW_STATE_UNSPECIFIED:
        raise InvalidRequest.at(
            "state", "there is none with the number {value}", ", ".join(CaptureState), number
        )
    return state


def review_message(record: CaptureRecord, now: float) -> reviews_pb2.Review:
    """Converts a captured input, without its content, to its message.

    Args:
        now: in seconds since 1970; leases that have ended by then are none.
    """
    leased, ends, judged = record.leased_until, record.expires_at, record.judged_at
    said = dict(record.metadata)
    return message_of(
        reviews_pb2.Review,
        record,
        state=_NUMBERS[record.state],
        create_time=timestamp(record.created_at),
        expire_time=None if ends is None else timestamp(ends),
        answer=[
            reviews_pb2.AnsweredClass(label=label, probability=share)
            for label, share in record.answer
        ],
        metadata=common_pb2.Metadata(pairs=said) if said else None,
        label=record.judged_label,
        judge_time=None if judged is None else timestamp(judged),
        reviewer=key_name(record.judged_by),
        lease_time=None if leased is None or leased <= now else timestamp(leased),
        input=None,
        neighbours=(),
    )


def judged_message(judged: Judged) -> reviews_pb2.Judged:
    """Converts what a judgement came to to its message."""
    return message_of(reviews_pb2.Judged, judged, state=_NUMBERS[judged.state])


def accuracy_message(accuracy: Accuracy) -> reviews_pb2.ServedAccuracy:
    """Converts an accuracy to its message."""
    share = accuracy.share
    return message_of(
        reviews_pb2.ServedAccuracy,
        accuracy,
        accuracy=share.value,
        accuracy_low=share.low,
        accuracy_high=share.high,
    )


def class_messages(classes: Iterable[ClassAccuracy]) -> list[reviews_pb2.ServedClass]:
    """Converts accuracies by class to their messages."""
    return [
        reviews_pb2.ServedClass(
            label=row.label,
            precision=accuracy_message(row.precision),
            recall=accuracy_message(row.recall),
        )
        for row in classes
    ]
