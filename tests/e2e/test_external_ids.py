"""Examples are called by their caller's names, over both transports and by the commands."""

from __future__ import annotations

from tests.e2e.conftest import TEXTS
from tests.e2e.processes import Running
from tests.e2e.transports import Transport, text
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
