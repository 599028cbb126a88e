"""An embedding with NaN or infinity in it costs its row alone, and is kept nowhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import PreparedInput
from service.access.caller import ANYONE
from service.transport.rest_bodies import write_json
from tests.service.learning_head import IMMEDIATE, OpenLearningHead, around
from tests.service.server import HEAD, InProcessServer, best, import_request, texts
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2, prediction_pb2

WORDS = "the embedding of this input is not finite"


class Lapse:
    """Makes one number of what a backbone makes of some texts NaN or infinite, until it is over."""

    def __init__(self, server: InProcessServer, **numbers: float) -> None:
        self.numbers = {word.encode(): number for word, number in numbers.items()}
        self.seen: list[int] = []
        self.over = False
        self._forward = server.backbone.forward

    def forward(self, batch: Sequence[PreparedInput]) -> NDArray[np.float32]:
        vectors = self._forward(batch)
        for row, item in enumerate(batch):
            word = bytes(item.data.astype(np.uint8))
            if word in self.numbers and not self.over:
                vectors[row, 2] = self.numbers[word]
                self.seen.append(row)
        return vectors


@pytest.fixture
async def lapse(server: InProcessServer, monkeypatch: pytest.MonkeyPatch) -> Lapse:
    found = Lapse(server, ill=np.nan, sick=-np.inf)
    monkeypatch.setattr(server.backbone, "forward", found.forward)
    await server.ask("ImportHead", import_request())
    return found


def counted(server: InProcessServer, method: str) -> float:
    labels = {"method": method, "code": "INTERNAL", "tenant": "acme"}
    registry = server.application.metrics.registry
    return registry.get_sample_value("trunkline_rows_total", labels) or 0.0


def as_json(reply: Any) -> Any:
    """What REST answers: strict JSON, in which no number is NaN or infinite."""
    return json.loads(json.dumps(write_json(reply), allow_nan=False))


def check_errors(errors: Sequence[common_pb2.RowError], *rows: int) -> None:
    assert [error.row for error in errors] == list(rows)
    for error in errors:
        assert (error.code, error.message) == ("INTERNAL", WORDS)


async def test_prediction_answers_the_other_rows_and_keeps_nothing_of_the_row(
    server: InProcessServer, lapse: Lapse
) -> None:
    inputs = texts("well", "ill", "fine", "sick")
    for again in range(2):
        reply = await server.predict(*inputs)
        check_errors(reply.errors, 1, 3)
        assert best(reply) == ["yes", "yes"]
        assert len(lapse.seen) == 2 * (again + 1), "what failed is not taken from a cache"
        first, failed, last, _ = as_json(reply)["predictions"]
        assert failed["error"]["code"] == "INTERNAL"
        assert first["label"] == last["label"] == "yes"
    lapse.over = True
    assert not (await server.predict(*inputs)).errors


async def test_embeddings_of_the_other_rows_are_returned(
    server: InProcessServer, lapse: Lapse
) -> None:
    request = extraction_pb2.EmbedRequest(tenant="tenants/acme", inputs=texts("ill", "well"))
    reply = await server.ask("Embed", request)
    check_errors(reply.errors, 0)
    vectors = np.frombuffer(reply.embeddings.data, "<f4").reshape(2, -1)
    assert np.isfinite(vectors).all()
    failed, sound = as_json(reply)["embeddings"]
    assert "embedding" not in failed
    assert np.isfinite(sound["embedding"]).all()


async def test_example_and_feedback_are_not_stored(server: InProcessServer, lapse: Lapse) -> None:
    added = await server.add({"well": "yes", "ill": "no", "fine": "no"})
    check_errors(added.errors, 1)
    stored = await server.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    assert {item.digest for item in stored.examples} == {text_digest("well"), text_digest("fine")}
    told = await server.feedback({"sick": "yes", "well": "no"})
    check_errors(told.errors, 0)
    kept = await server.ask("ListFeedback", heads_pb2.ListFeedbackRequest(head=HEAD))
    assert [item.digest for item in kept.feedback] == [text_digest("well")]
    head = await server.head()
    assert head.example_count == 2


async def test_live_copy_learns_nothing_of_feedback_whose_embedding_is_not_finite(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = around("red", 4, seed=8) + around("blue", 4, seed=9)
    async with open_learning_head(IMMEDIATE) as head:
        server = head.server
        lapse = Lapse(server, ill=np.nan, sick=-np.inf)
        monkeypatch.setattr(server.backbone, "forward", lapse.forward)
        told = await server.feedback({"ill": "red", "well": "blue"})
        check_errors(told.errors, 0)
        live = await head.live()
        assert (live.state, live.example_count) == (heads_pb2.LIVE_STATE_SERVING, 41)
        assert (live.feedback_count, live.scored) == (1, 1)
        before = await head.probabilities(probes)
        assert np.isfinite(before).all()
        check_errors((await server.feedback({"ill": "red", "sick": "blue"})).errors, 0, 1)
        assert await head.live() == live
        np.testing.assert_array_equal(await head.probabilities(probes), before)
        lapse.over = True
        assert not (await server.feedback({"ill": "red", "sick": "blue"})).errors
        assert (await head.live()).feedback_count == 3
        assert (await head.probabilities(probes) != before).any()


async def test_metrics_count_the_rows_and_the_backbone_stays_ready(
    server: InProcessServer, lapse: Lapse
) -> None:
    calls = server.application.calls
    request = prediction_pb2.PredictRequest(head=HEAD, inputs=texts("well", "ill", "sick"))
    before = counted(server, "Predict")
    async with calls.handle("Predict", "grpc", request, caller=ANYONE) as call:
        reply = await server.application.handlers["Predict"](request, call)
        calls.record_reply(call, reply)
    assert counted(server, "Predict") == before + 2
    assert server.application.readiness.ready
