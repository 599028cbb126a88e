"""Live copies and feedback as messages, and the enums of both."""

from __future__ import annotations

from service.errors import InvalidRequest
from service.live import LiveStatus, Policy
from service.replies.heads import timestamp
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
        raise InvalidRequest(
            f"policy: there is none with the number {number}",
            field="policy",
            limit=", ".join(Policy),
            value=number,
        )
    return policy


def read_feedback_state(number: heads_pb2.FeedbackState.ValueType) -> FeedbackState | None:
    """Returns the state that a request names; None if it names none.

    Raises:
        InvalidRequest: there is none of this number.
    """
    state = _FEEDBACK_STATES.get(number)
    if state is None and number != heads_pb2.FEEDBACK_STATE_UNSPECIFIED:
        raise InvalidRequest(
            f"state: there is none with the number {number}",
            field="state",
            limit=", ".join(FeedbackState),
            value=number,
        )
    return state


def live_message(status: LiveStatus) -> heads_pb2.LiveCopy:
    """Converts the status of a live copy to its message."""
    comparison = status.comparison
    drift = status.drift
    return heads_pb2.LiveCopy(
        state=heads_pb2.LiveState.Value(f"LIVE_STATE_{status.state.name}"),
        reason=status.reason,
        base_version=status.base_version,
        example_count=status.example_count,
        feedback_count=status.feedback_count,
        labels=status.labels,
        scored=status.scored,
        active_right=status.active_right,
        live_right=status.live_right,
        evidence_better=status.evidence_better,
        evidence_worse=status.evidence_worse,
        error_rate=status.error_rate,
        active_leave_one_out=None if comparison is None else comparison.active,
        live_leave_one_out=None if comparison is None else comparison.live,
        drift=heads_pb2.Drift(
            detected=drift.detected_at is not None,
            time=None if drift.detected_at is None else timestamp(drift.detected_at),
            window=drift.window,
            accuracy=drift.accuracy,
        ),
        near_copies=status.near_copies,
        family=status.family,
        chosen_on=status.chosen_on,
    )


def feedback_message(feedback: FeedbackRecord) -> heads_pb2.FeedbackRecord:
    """Converts stored feedback to its message."""
    return heads_pb2.FeedbackRecord(
        id=feedback.feedback_id,
        digest=feedback.digest,
        label=feedback.label,
        state=heads_pb2.FeedbackState.Value(f"FEEDBACK_STATE_{feedback.state.name}"),
        active_version=feedback.active_version,
        active_right=feedback.active_right,
        live_right=feedback.live_right,
        create_time=timestamp(feedback.created_at),
    )
