"""Examples are called by their caller's names, over both transports and by the commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.e2e.conftest import TEXTS, Cli
from tests.e2e.processes import Running
from tests.e2e.transports import Transport, text
from trunkline import Client
from trunkline.v1 import heads_pb2

Sentences = list[tuple[str, str]]


def test_names_are_kept_looked_up_and_reported(
    transport: Transport, server: Running, tenant: str, sentences: Sentences
) -> None:
    creation = heads_pb2.CreateHeadRequest(parent=f"tenants/{tenant}", head_id="h", backbone=TEXTS)
    head = transport.call("CreateHead", creation).head.name
    rows = [
        heads_pb2.NewExample(input=text(words), label=label, external_id=f"{tenant}/row {i}")
        for i, (words, label) in enumerate(sentences)
    ]
    words, label = sentences[0]
    other = "negative" if label == "positive" else "positive"
    copy = heads_pb2.NewExample(input=text(words + " "), label=other, external_id="copy/ü")
    refused = heads_pb2.NewExample(input=text("refused"), external_id=f"{tenant}\n")
    request = heads_pb2.AddExamplesRequest(head=head, examples=[*rows, copy, refused])
    added = transport.call("AddExamples", request)
    assert (added.added, len(added.errors)) == (len(rows) + 1, 1)
    assert (added.errors[0].field, added.errors[0].limit) == ("external_id", "printable")
    asked = heads_pb2.ListExamplesRequest(head=head, external_ids=["copy/ü", f"{tenant}/row 1"])
    found = transport.call("ListExamples", asked).examples
    assert [one.external_id for one in found] == [f"{tenant}/row 1", "copy/ü"]
    trained = transport.call("TrainHead", heads_pb2.TrainHeadRequest(head=head)).training
    name = f"{head}/versions/{trained.version}"
    report = transport.call("GetHeadReport", heads_pb2.GetHeadReportRequest(name=name)).report
    pair = report.near_duplicates[0]
    assert {pair.external_id, pair.other_external_id} == {f"{tenant}/row 0", "copy/ü"}
    assert f"{tenant}/row" not in server.log.read_text(encoding="utf-8")


@pytest.mark.long
def test_commands_call_examples_by_what_their_table_calls_them(
    cli: Cli, client: Client, tenant: str, sentences: Sentences, tmp_path: Path
) -> None:
    head, table = f"{tenant}/mood", tmp_path / "mood.csv"
    words, label = sentences[0]
    rows = [*sentences, (words + ".", "negative" if label == "positive" else "positive")]
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    trained = cli("train", head, table)
    assert trained.returncode == 0, trained.stderr
    last = f"mood.csv:{len(rows) + 1}"
    for _ in range(2):
        report = cli("report", head).stdout
        assert f"{last} (" in report
        assert "mood.csv:2 (" in report
        again = cli("train", head, table)
        assert "name" not in again.stderr
    assert last in cli("examples", "list", head).stdout
    assert cli("examples", "relabel", head, label, last).returncode == 0
    shown = json.loads(cli("examples", "show", head, last, "--json").stdout)["examples"]
    assert [(row["external_id"], row["label"]) for row in shown] == [(last, label)]
    moved = tmp_path / "moved.csv"
    table.rename(moved)
    uploaded = cli("train", head, moved)
    assert f"{len(rows)} names changed by this upload: mood" not in uploaded.stderr
    assert f"{len(rows)} names changed by this upload" in uploaded.stderr
    assert cli("forget", head, "moved.csv:2", "--yes").returncode == 0
    gone = cli("examples", "show", head, "moved.csv:2")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "no example named moved.csv:2" in gone.stderr
    assert "moved.csv:2" not in [row.external_id for row in client.list_examples(head)]
