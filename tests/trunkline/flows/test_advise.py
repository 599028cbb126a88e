"""Asking for advice: the client, the command and the page."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.trunkline.recording import Recorder, Server
from tests.trunkline.steps import TEXTS, Run, unavailable
from trunkline import Advice, AsyncClient, Client, DataLoss, Image, InvalidArgument, Verdict
from trunkline.digest import text_digest
from trunkline.flows.advise import Labelled
from trunkline.html_report import advice_page
from trunkline.replies.advice import advice as read_advice
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


def test_the_command_prints_a_table_and_then_words(run: Run, table: Path) -> None:
    result = run("advise", table)
    assert result.exit_code == 0, result.stderr
    words = result.stdout
    lines = words.splitlines()
    assert lines[0].split()[:4] == ["option", "accuracy", "log-loss", "LogME"]
    assert lines[1].startswith("direct")
    assert "90.0% (85.0% to 95.0%)" in lines[1]
    assert "Transfer does not help." in words
    assert "- Direct training is ahead." in words
    assert "Fine-tuning is likely to pay. The frozen features" in words
    assert "out of sight" in words
    assert "12 pairs, 1 of them" in words
    assert "good" in words
    assert "compared" in result.stderr
    assert "4 examples" in result.stderr


def test_the_command_passes_its_options_on(run: Run, recorder: Recorder, table: Path) -> None:
    options = ["--tenant", "zoo", "--backbone", "a/b", "--backbone", "c/d", "--seed", 3]
    assert run("advise", table, *options).exit_code == 0
    first = recorder.asked("Advise")[0]
    assert (first.parent, list(first.backbones), first.seed) == ("tenants/zoo", ["a/b", "c/d"], 3)


def test_json_is_one_document(run: Run, table: Path) -> None:
    document = json.loads(run("advise", table, "--json").stdout)
    assert (document["verdict"], document["recommended"]) == ("direct", "direct")
    assert document["labels_needed"][1] == {"accuracy": 0.98, "examples": None}


def test_a_failed_row_is_named_and_the_rest_advised_on(
    run: Run, recorder: Recorder, table: Path
) -> None:
    recorder.bad_digests.add(text_digest("bad"))
    result = run("advise", table)
    assert result.exit_code == 1
    assert "failed: bad: cannot be decoded" in result.stderr
    assert "Transfer does not help." in result.stdout


def test_what_cannot_be_asked_is_a_usage_error(run: Run, table: Path, tmp_path: Path) -> None:
    assert run("advise", table, "--tenant", "no/such").exit_code == 2
    empty = tmp_path / "empty.csv"
    empty.write_text("text,label\n")
    result = run("advise", empty)
    assert (result.exit_code, "no examples" in result.stderr) == (1, True)


def test_the_command_writes_a_page_with_the_curves(run: Run, table: Path, tmp_path: Path) -> None:
    page = tmp_path / "advice.html"
    assert run("advise", table, "--html", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text.encode())
    drawn = [row for row in root.iter("svg") if row.get("role") == "img"]
    titles = {row.findtext("title"): row for row in drawn}
    assert set(titles) == {"What could be done", "Learning curves"}
    assert "direct training from 80.0% to 90.0%" in (
        titles["Learning curves"].findtext("desc") or ""
    )
    assert len(list(titles["Learning curves"].iter("polyline"))) == 3
    words = " ".join("".join(root.itertext()).split())
    for wanted in ("Does transfer pay?", "mood.csv", "Transfer does not help.", "out of sight"):
        assert wanted in words
    assert "good" in words
    assert "<script" not in text


def test_pages_of_hostile_names_and_of_little_can_be_read(client: Client) -> None:
    advice = advise(client)
    bare = replace(
        advice,
        options=tuple(
            replace(option, learning_curve=option.learning_curve[-1:], log_evidence=None)
            for option in advice.options
        ),
        labels_needed=(),
        near_duplicates=(),
        summary="<script>alert(1)</script>",
    )
    page = advice_page(bare, '"><img src=x>', {})
    root = ElementTree.fromstring(page.encode())
    assert not [row for row in root.iter() if row.tag in {"script", "img"}]
    titles = [row.text for row in root.iter("h2")]
    assert titles == ["Recommended: direct training", "What could be done", "Classes"]
