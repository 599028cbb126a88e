"""Versions leave as files that say the same elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adapters
from adapters.spec import FRONTS
from service.errors import PreconditionFailed
from service.replies.model_card import model_card
from service.store.versions import VersionRecord
from tests.adapters.graphs import run_graph
from tests.service.server import HEAD, InProcessServer, best, import_request, texts
from tests.service.tiny_backbone import FINGERPRINT
from trunkline.v1 import heads_pb2

TOLERANCE = 1e-5
MORE_LABELS = {f"{colour} {i}": colour for i in range(8) for colour in ("red", "blue")}


async def export(server: InProcessServer, **values: Any) -> heads_pb2.ExportHeadResponse:
    request = heads_pb2.ExportHeadRequest(name=HEAD, **values)
    response: heads_pb2.ExportHeadResponse = await server.ask("ExportHead", request)
    return response


async def test_version_is_exported_as_graph_only_if_asked_for(server: InProcessServer) -> None:
    await server.create()
    await server.add(MORE_LABELS)
    await server.train()
    assert (await export(server)).onnx == b""
    exported = await export(server, onnx=True, version=1)
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32) * 100
    head = adapters.Head.from_safetensors(exported.safetensors)
    np.testing.assert_allclose(
        run_graph(exported.onnx, rows), head.probabilities(rows), atol=TOLERANCE
    )


async def test_imported_weights_of_anybody_leave_as_a_graph(server: InProcessServer) -> None:
    await server.ask("ImportHead", import_request())
    exported = await export(server, onnx=True)
    rows = np.ones((2, 4), np.float32)
    expected = adapters.Head.from_safetensors(exported.safetensors).probabilities(rows)
    np.testing.assert_allclose(run_graph(exported.onnx, rows), expected, atol=TOLERANCE)


@pytest.mark.parametrize("front", FRONTS)
async def test_exported_weights_come_back_whole(server: InProcessServer, front: str) -> None:
    novelty = heads_pb2.Novelty(false_alarm_rate=0.3, abstain=True)
    await server.create(spec=heads_pb2.HeadSpec(family="lda", front=front, novelty=novelty))
    await server.add(MORE_LABELS)
    await server.train()
    before = best(await server.predict(*texts(*MORE_LABELS)))
    data = (await export(server)).safetensors
    await server.ask("ImportHead", import_request(safetensors=data, labels=[]))
    again = adapters.Head.from_safetensors((await export(server, version=2)).safetensors)
    head = adapters.Head.from_safetensors(data)
    assert head.front is not None
    assert again.front is not None
    assert again.front.kind == head.front.kind == front
    np.testing.assert_array_equal(again.front.mean, head.front.mean)
    assert head.novelty is not None
    assert again.novelty is not None
    assert (again.novelty.threshold, again.novelty.abstain) == (head.novelty.threshold, True)
    assert head.conformal is not None
    assert again.conformal is not None
    np.testing.assert_array_equal(again.conformal.scores, head.conformal.scores)
    assert best(await server.predict(*texts(*MORE_LABELS))) == before


async def test_model_card_tells_what_the_head_is_and_how_good(server: InProcessServer) -> None:
    await server.create(spec=heads_pb2.HeadSpec(family="ridge", seed=9))
    await server.add(MORE_LABELS)
    await server.train()
    card = (await export(server)).model_card
    report = await server.report()
    front, _, body = card.removeprefix("---\n").partition("\n---\n")
    assert 'base_model: "tiny/text"' in front
    assert f"value: {report.estimate.accuracy:.4f}" in front
    assert f"# {HEAD}, version 1" in body
    assert FINGERPRINT in body
    assert report.estimate.method in body
    interval = f"{report.estimate.accuracy_low:.1%} to {report.estimate.accuracy_high:.1%}"
    assert interval in body
    for label in ("red", "blue"):
        assert f"| {label} | 8 |" in body
    assert "seed 9" in body
    assert "trained on stored examples" in body


async def test_model_card_tells_estimate_and_held_out_examples_apart(
    server: InProcessServer,
) -> None:
    await server.create(spec=heads_pb2.HeadSpec(family="ridge"))
    await server.add(MORE_LABELS)
    held_out = {"red x": "red", "red y": "blue", "blue x": "red", "blue y": "red"}
    await server.add_rows(
        *(
            heads_pb2.NewExample(input=text, label=label, held_out=True)
            for text, label in zip(texts(*held_out), held_out.values(), strict=True)
        )
    )
    await server.train()
    report = await server.report()
    assert (report.estimate.accuracy, report.test.estimate.accuracy) == (1, 0.25)
    card = (await export(server)).model_card
    rows = [line for line in card.splitlines() if line.startswith("| ")]
    assert any(row.startswith(f"| {report.estimate.method} | 100.0% |") for row in rows)
    assert any(row.startswith("| on held-out examples | 25.0% |") for row in rows)
    front = card.removeprefix("---\n").partition("\n---\n")[0]
    assert front.index("value: 1.0000") < front.index('"held-out examples"')
    assert front.index('"held-out examples"') < front.index("value: 0.2500")


async def test_model_card_of_imported_weights_claims_nothing(server: InProcessServer) -> None:
    await server.ask("ImportHead", import_request())
    card = (await export(server)).model_card
    assert "Unknown" in card
    assert "imported" in card
    assert "accuracy" not in card


def test_labels_cannot_break_out_of_the_model_card() -> None:
    report = heads_pb2.HeadReport(
        head=HEAD, classes=[heads_pb2.ClassReport(label="a|b <b>`", examples=1)]
    )
    version = VersionRecord(1, "training", ("a|b <b>`", "c"), {}, 1, 0.0, "tiny/text", FINGERPRINT)
    card = model_card(report, version)
    assert "| a\\|b \\<b\\>\\` | 1 |" in card


async def test_head_without_a_version_has_nothing_to_export(server: InProcessServer) -> None:
    await server.create()
    with pytest.raises(PreconditionFailed):
        await export(server)
