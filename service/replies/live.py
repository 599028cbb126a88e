"""Live copies and feedback as messages, and the enums of both."""

from __future__ import annotations

from service.errors import InvalidRequest
from service.live import LiveStatus, Policy
from service.replies.heads import timestamp
from service.replies.messages import message_of
from service.store.feedback import FeedbackRecord
from service.store.feedback_states import FeedbackState
from trunkline.v1 import heads_pb2

_POLICIES = {
    heads_pb2.FEEDBACK_POLICY_UNSPECIFIED: Policy.GATED,
    heads_pb2.FEEDBACK_POLICY_IMMEDIATE: Policy.IMMEDIATE,
    heads_pb2.FEEDBACK_POLICY_GATED: Policy.GATED,
    heads_pb2.FEEDBACK_POLICY_MANUAL: Policy.MANUAL,
}
_FEEDBACK_STATES = {
    heads_pb2.FeedbackState.Value(f"FEEDBACK_STATE_{state.name}"): state for state in FeedbackState
}


def read_policy(number: heads_pb2.FeedbackPolicy.ValueType) -> Policy:
    """Returns the policy that a request names.

    Raises:
        InvalidRequest: there is none of this number.
    """
    policy = _POLICIES.get(number)
    if policy is None:
        raise InvalidRequest.at(
            "policy", "there is none with the number {value}", ", ".join(Policy), number
        )
    return policy


def read_feedback_state(number: heads_pb2.FeedbackState.ValueType) -> FeedbackState | None:
    """Returns the state that a request names; None if it names none.

    Raises:
        InvalidRequest: there is none of this number.
    """
    state = _FEEDBACK_STATES.get(number)
    if state is None and number != heads_pb2.FEEDBACK_STATE_UNSPECIFIED:
        raise InvalidRequest.at(
            "state", "there is none with the number {value}", ", ".join(FeedbackState), number
        )
    return state


def live_message(status: LiveStatus) -> heads_pb2.LiveCopy:
    """Converts the status of a live copy to its message."""
    comparison = status.comparison
    drift = status.drift
    return message_of(
        heads_pb2.LiveCopy,
        status,
        state=heads_pb2.LiveState.Value(f"LIVE_STATE_{status.state.name}"),
        active_leave_one_out=None if comparison is None else comparison.active,
        live_leave_one_out=None if comparison is None else comparison.live,
        drift=heads_pb2.Drift(
            detected=drift.detected_at is not None,
            time=None if drift.detected_at is None else timestamp(drift.detected_at),
            window=drift.window,
            accuracy=drift.accuracy,
        ),
    )


def feedback_message(feedback: FeedbackRecord) -> heads_pb2.FeedbackRecord:
    """Converts stored feedback to its message."""
    return message_of(
        heads_pb2.FeedbackRecord,
        feedback,
        id=feedback.feedback_id,
        state=heads_pb2.FeedbackState.Value(f"FEEDBACK_STATE_{feedback.state.name}"),
        create_time=timestamp(feedback.created_at),
    )
