"""What the status of a live copy says of its last choice and of near-copies, on every way."""

from __future__ import annotations

from tests.e2e.conftest import TEXTS, Cli
from tests.e2e.learning import DIM, make_head, send_feedback
from tests.e2e.samples import vectors
from tests.e2e.transports import Transport, embedding
from trunkline import Backbone, Client
from trunkline.v1 import heads_pb2


def test_status_tells_when_a_copy_chose_last_and_which_feedback_was_no_evidence(
    transport: Transport, tenant: str, backbones: dict[str, Backbone], client: Client, cli: Cli
) -> None:
    fingerprint = backbones[TEXTS].fingerprint
    gated, auto = heads_pb2.FEEDBACK_POLICY_GATED, heads_pb2.HeadSpec(family="auto")
    head = make_head(transport, tenant, fingerprint, policy=gated, rows=20, spec=auto)

    def live() -> heads_pb2.LiveCopy:
        described = transport.call("GetHead", heads_pb2.GetHeadRequest(name=head)).head
        assert isinstance(described.live, heads_pb2.LiveCopy)
        return described.live

    rows = vectors(10, DIM, seed=5, classes=3)
    pairs = [(embedding(fingerprint, vector), label) for vector, label in rows]
    assert not send_feedback(transport, head, pairs[:9]).errors
    assert live().chosen_on == 0
    again = (embedding(fingerprint, rows[0][0] * 1.001), rows[0][1])
    assert not send_feedback(transport, head, [*pairs[9:], again]).errors
    found = live()
    assert (found.example_count, found.chosen_on, found.near_copies) == (31, 30, 1)
    assert found.family in ("ridge", "lda", "prototype", "logistic")
    seen = client.get_head(head).live
    assert seen is not None
    assert (seen.family, seen.chosen_on, seen.near_copies) == (found.family, 30, 1)
    shown = " ".join(cli("heads", "show", f"{tenant}/live").stdout.split())
    assert f"front and strength chosen on 30 examples ({found.family})" in shown
    assert "near-copies, no evidence 1" in shown
