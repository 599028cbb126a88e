"""Heads that learn from feedback over either transport, and inputs they do not know."""

from __future__ import annotations

import numpy as np

from tests.e2e.conftest import TEXTS
from tests.e2e.samples import vectors
from tests.e2e.transports import Transport, embedding
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

DIM = 384
IMMEDIATE = heads_pb2.FEEDBACK_POLICY_IMMEDIATE
RIDGE = heads_pb2.HeadSpec(family="ridge")


def make_head(
    way: Transport,
    tenant: str,
    fingerprint: str,
    *,
    policy: heads_pb2.FeedbackPolicy.ValueType = IMMEDIATE,
    rows: int = 30,
    classes: int = 3,
    **more: object,
) -> str:
    """A trained head on embeddings around one centre a class."""
    head = f"tenants/{tenant}/heads/live"
    request = heads_pb2.CreateHeadRequest(
        parent=f"tenants/{tenant}",
        head_id="live",
        backbone=TEXTS,
        policy=policy,
        **more,  # type: ignore[arg-type]
    )
    if not request.HasField("spec"):
        request.spec.CopyFrom(RIDGE)
    way.call("CreateHead", request)
    examples = [(embedding(fingerprint, v), y) for v, y in vectors(rows, DIM, classes=classes)]
    assert way.add(head, examples).added == rows
    way.call("TrainHead", heads_pb2.TrainHeadRequest(head=head))
    return head


def send_feedback(
    way: Transport, head: str, pairs: list[tuple[common_pb2.Input, str]]
) -> prediction_pb2.SendFeedbackResponse:
    feedback = [prediction_pb2.Feedback(input=item, label=label) for item, label in pairs]
    request = prediction_pb2.SendFeedbackRequest(head=head, feedback=feedback)
    reply: prediction_pb2.SendFeedbackResponse = way.call("SendFeedback", request)
    return reply


def strangers(fingerprint: str, count: int, seed: int = 9) -> list[common_pb2.Input]:
    """Inputs far from every class, as embeddings."""
    generator = np.random.default_rng(seed)
    centre = 3 * np.random.default_rng(77).normal(size=DIM)
    rows = centre + generator.normal(scale=0.3, size=(count, DIM))
    return [embedding(fingerprint, row.astype(np.float32)) for row in rows]
