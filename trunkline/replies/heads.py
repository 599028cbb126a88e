"""Heads, their specs and versions, as they come over the wire."""

from trunkline.v1 import heads_pb2
from trunkline.values.heads import FineTune, Head, HeadSpec, ImportedVersion, Policy, Version
from trunkline.wire.reading import member, read


def spec(message: heads_pb2.HeadSpec) -> HeadSpec:
    """Reads a head's spec."""
    tuned = message.fine_tune.strategy not in ("", "none")
    return read(
        HeadSpec,
        message,
        fine_tune=read(FineTune, message.fine_tune) if tuned else None,
        average_views=message.average_views or None,
    )


def head(message: heads_pb2.Head) -> Head:
    """Reads a head."""
    policy = message.policy or heads_pb2.FEEDBACK_POLICY_GATED
    return read(
        Head,
        message,
        spec=spec(message.spec),
        policy=member(Policy, heads_pb2.FeedbackPolicy.DESCRIPTOR, policy),
    )


def imported(message: heads_pb2.ImportHeadResponse) -> ImportedVersion:
    """Reads a version that was imported."""
    return read(
        ImportedVersion,
        message.version,
        spec=spec(message.version.spec),
        removed_versions=tuple(message.removed_versions),
    )


def version(message: heads_pb2.HeadVersion) -> Version:
    """Reads a version."""
    return read(Version, message, spec=spec(message.spec))
