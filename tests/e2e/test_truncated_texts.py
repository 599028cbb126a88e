"""Texts that are longer than the backbone's window: whoever meets one is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.message import Message

from tests.e2e.conftest import TEXTS, Cli
from tests.e2e.transports import METHODS, Rest, Transport, text
from trunkline.digest import text_digest
from trunkline.v1 import advice_pb2, common_pb2, extraction_pb2, heads_pb2, prediction_pb2

LONG = "the loom was set up again " * 100
SHORT = "the loom was set up"


def test_long_texts_are_counted_and_marked_wherever_they_go(
    transport: Transport, tenant: str
) -> None:
    parent = f"tenants/{tenant}"
    creation = heads_pb2.CreateHeadRequest(parent=parent, head_id="h", backbone=TEXTS)
    head = transport.call("CreateHead", creation).head.name
    labelled = [(f"{LONG} {i}", "long") for i in range(2)] + [
        (f"{i} {SHORT}", "short") for i in "ab"
    ]
    unlabelled = (text(f"{LONG} without a label"), None)
    stored = transport.add(head, [*((text(words), label) for words, label in labelled), unlabelled])
    assert stored.truncated_count == 3
    assert list(stored.truncated) == [0, 1, 4]
    listed = transport.call("ListExamples", heads_pb2.ListExamplesRequest(head=head)).examples
    assert [example.truncated for example in listed] == [True, True, False, False, True]
    transport.call("TrainHead", heads_pb2.TrainHeadRequest(head=head))
    report = heads_pb2.GetHeadReportRequest(name=f"{head}/versions/active")
    assert transport.call("GetHeadReport", report).report.truncated_count == 2
    suggested = transport.call("SuggestExamples", heads_pb2.SuggestExamplesRequest(head=head))
    assert [row.example.truncated for row in suggested.suggestions] == [True]
    by_digest = common_pb2.Input(digest=text_digest(labelled[0][0]))
    rows = [text(SHORT), text(f"{LONG} new"), by_digest]
    assert marked(transport, "Predict", prediction_pb2.PredictRequest(head=head, inputs=rows)) == [
        1,
        2,
    ]
    embed = extraction_pb2.EmbedRequest(tenant=parent, backbone=TEXTS, inputs=rows)
    assert marked(transport, "Embed", embed) == [1, 2]
    feedback = [prediction_pb2.Feedback(input=row, label="long") for row in rows]
    sent = prediction_pb2.SendFeedbackRequest(head=head, feedback=feedback)
    assert marked(transport, "SendFeedback", sent) == [1, 2]


def marked(transport: Transport, method: str, request: Message) -> list[int]:
    """The rows that a reply marks."""
    if isinstance(transport, Rest) and method != "SendFeedback":
        reply = transport.send(METHODS[method], request).json()
        rows = reply["predictions" if method == "Predict" else "embeddings"]
        return [row["row"] for row in rows if row.get("truncated")]
    return list(transport.call(method, request).truncated)


def test_advice_counts_long_texts_for_each_backbone(transport: Transport, tenant: str) -> None:
    examples = [
        advice_pb2.LabelledInput(input=text(f"{i} {words}"), label=label)
        for label, words in (("long", LONG), ("short", SHORT))
        for i in range(4)
    ]
    request = advice_pb2.AdviseRequest(parent=f"tenants/{tenant}", examples=examples)
    advice = transport.call("Advise", request).advice
    counts = {option.name: option.truncated_count for option in advice.options}
    assert counts == {"majority": 0, "direct": 0, TEXTS: 4}
    assert any("4 of 8 texts" in reason and TEXTS in reason for reason in advice.reasons)


@pytest.mark.long
def test_commands_tell_of_long_texts(cli: Cli, tenant: str, tmp_path: Path) -> None:
    table = tmp_path / "notes.jsonl"
    rows = [{"text": f"{i} {LONG}", "label": "long"} for i in range(5)]
    rows += [{"text": f"{i} {SHORT}", "label": "short"} for i in range(5)]
    table.write_text("\n".join(map(json.dumps, rows)))
    trained = cli("train", f"{tenant}/notes", str(table))
    assert (
        f"5 texts longer than the backbone's window, beyond which nothing counts: {table}:1, "
        in trained.stderr
    )
    assert "and 2 more" in trained.stderr
    assert "texts cut at the window  5" in trained.stdout
    predicted = cli("predict", f"{tenant}/notes", "--text", LONG, "--text", SHORT)
    assert [line.endswith("\ttruncated") for line in predicted.stdout.splitlines()] == [True, False]
    as_json = cli("predict", f"{tenant}/notes", "--text", LONG, "--json")
    assert json.loads(as_json.stdout)["truncated"] is True
    told = cli("feedback", f"{tenant}/notes", "--text", LONG, "short")
    assert "1 text longer than the backbone's window, beyond which nothing counts" in told.stderr
    told = cli("feedback", f"{tenant}/notes", "--text", SHORT, "short", "--json")
    assert json.loads(told.stdout)["notices"] == []
