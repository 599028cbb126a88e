"""Specs, policies and states as they go over the wire."""

from collections.abc import Callable

from google.protobuf.message import Message

from trunkline.errors import InvalidArgument
from trunkline.v1 import heads_pb2, prediction_pb2
from trunkline.values.capture import Capture
from trunkline.values.examples import FeedbackState
from trunkline.values.heads import HeadSpec, Policy
from trunkline.wire.building import build
from trunkline.wire.names import one_of

_PARTS: dict[str, Callable[..., Message]] = {
    "augment": heads_pb2.Augmentation,
    "novelty": heads_pb2.Novelty,
    "fine_tune": heads_pb2.FineTune,
}


def spec_message(spec: HeadSpec | None) -> heads_pb2.HeadSpec | None:
    """Returns the spec as it goes over the wire."""
    if spec is None:
        return None
    parts = {
        name: build(kind, **vars(value))
        for name, kind in _PARTS.items()
        if (value := getattr(spec, name)) is not None
    }
    return build(heads_pb2.HeadSpec, **(vars(spec) | parts))


def capture_message(capture: Capture | bool | None) -> heads_pb2.Capture | None:
    """Returns what is captured as it goes over the wire; False ends it.

    Raises `InvalidArgument` for True, which says not what.
    """
    if capture is None:
        return None
    if isinstance(capture, bool):
        if capture:
            words = "a Capture, False or None"
            raise InvalidArgument(
                f"capture must be {words}, is True", field="capture", limit=words, value="True"
            )
        return heads_pb2.Capture(off=True)
    return build(heads_pb2.Capture, **vars(capture))


def capture_choice(value: str | None) -> prediction_pb2.CaptureChoice.ValueType:
    """Returns the number of "always" or "never". Raises `InvalidArgument` for another."""
    if value is None:
        return prediction_pb2.CAPTURE_CHOICE_UNSPECIFIED
    if value not in ("always", "never"):
        words = "always or never"
        raise InvalidArgument(
            f"capture must be {words}, is {value!r}", field="capture", limit=words, value=str(value)
        )
    return prediction_pb2.CaptureChoice.Value(f"CAPTURE_CHOICE_{value.upper()}")


def policy_number(value: Policy | str | None) -> heads_pb2.FeedbackPolicy.ValueType | None:
    """Returns the number of a policy. Raises `InvalidArgument` for one that is not known."""
    if value is None:
        return None
    known = one_of(Policy, value, field="policy")
    return heads_pb2.FeedbackPolicy.Value(f"FEEDBACK_POLICY_{known.name}")


def state_number(value: FeedbackState | str | None) -> heads_pb2.FeedbackState.ValueType:
    """Returns the number of a feedback's state. Raises `InvalidArgument` for one not known."""
    if not value:
        return heads_pb2.FEEDBACK_STATE_UNSPECIFIED
    known = one_of(FeedbackState, value, field="state")
    return heads_pb2.FeedbackState.Value(f"FEEDBACK_STATE_{known.name}")
