"""Asking for advice."""

from pathlib import Path
from typing import Any

import pytest

from tests.trunkline.recording import Recorder, Server
from tests.trunkline.steps import TEXTS, unavailable
from trunkline import Advice, AsyncClient, Client, DataLoss, Image, InvalidArgument, Verdict
from trunkline.digest import text_digest
from trunkline.replies.advice import advice as read_advice
from trunkline.rows.labelled_rows import Labelled
from trunkline.v1 import advice_pb2
from trunkline.values.outcomes import UploadProgress


def advise(client: Client, **more: Any) -> Advice:
    return client.advise("acme", TEXTS, **more)


def test_an_advice_comes_back_as_values(client: Client, recorder: Recorder) -> None:
    advice = advise(client, backbones=["minilm/l6-v2"], seed=7)
    assert (advice.verdict, advice.recommended) == (Verdict.DIRECT, "direct")
    assert advice.example_count == 4
    assert {row.label: row.examples for row in advice.classes} == {"no": 2, "yes": 2}
    direct, head, _ = advice.options
    assert advice.best is direct
    assert (direct.log_evidence, direct.effective_rank, direct.mean_similarity) == (None,) * 3
    assert (head.log_evidence, head.effective_rank, head.mean_similarity) == (-0.25, 12.5, 0.875)
    assert [row.examples for row in head.learning_curve] == [50, 100]
    assert [row.examples for row in advice.labels_needed] == [1234, None]
    assert (advice.near_duplicate_count, len(advice.near_duplicates)) == (12, 1)
    assert (advice.failed, advice.failures) == (0, ())
    first, *rest = recorder.asked("Advise")
    assert (first.parent, list(first.backbones), first.seed) == (
        "tenants/acme",
        ["minilm/l6-v2"],
        7,
    )
    assert [row.label for request in rest for row in request.examples] == ["yes", "yes", "no", "no"]


async def test_the_asynchronous_client_gives_the_same(client: Client, server: Server) -> None:
    async with AsyncClient(server.address, timeout=10) as other:
        assert await other.advise("acme", TEXTS) == advise(client)


def test_rows_that_fail_here_or_there_are_named(
    client: Client, recorder: Recorder, tmp_path: Path
) -> None:
    recorder.bad_digests.add(text_digest("fine"))
    items: list[Labelled] = [(Image.open(tmp_path / "missing.png"), "yes"), *TEXTS]
    advice = client.advise("acme", items)
    assert advice.failed == 2
    assert [row.row for row in advice.failures] == [0, 2]


def test_progress_is_reported_message_by_message(client: Client) -> None:
    seen: list[UploadProgress] = []
    items = [(f"text {i}", "ab"[i % 2]) for i in range(200)]
    client.advise("acme", items, on_progress=seen.append)
    assert [now.rows for now in seen] == [0, 128, 200]
    assert seen[-1].sent_bytes == sum(len(text) for text, _ in items)


def test_a_stream_that_breaks_is_sent_again(client: Client, recorder: Recorder) -> None:
    recorder.hooks["Advise"] = [unavailable]
    assert advise(client).example_count == 4
    assert len(recorder.asked("Advise")) == 3


def test_a_label_that_is_none_is_refused_before_anything_is_sent(
    client: Client, recorder: Recorder
) -> None:
    label: Any = 5
    with pytest.raises(InvalidArgument) as refused:
        client.advise("acme", [("good", label)])
    assert refused.value.field == "label"
    assert recorder.asked("Advise") == []


def test_advice_that_contradicts_itself_is_data_loss() -> None:
    with pytest.raises(DataLoss):
        read_advice(advice_pb2.Advice(recommended="nothing like it"), (), 0)
