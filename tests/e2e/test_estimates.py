"""A version without an estimate beside one that has one: both transports and commands."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.conftest import TEXTS, Cli
from tests.e2e.transports import Transport, text
from trunkline.digest import text_digest
from trunkline.v1 import heads_pb2

ROWS = {"works well": "good", "love it": "good", "broke at once": "bad", "hate it": "bad"}
ONE_EACH = {"works well": "good", "broke at once": "bad"}


def test_version_without_an_estimate_leaves_the_one_that_has_one_and_says_so(
    transport: Transport, tenant: str, cli: Cli, tmp_path: Path
) -> None:
    parent = f"tenants/{tenant}"
    creation = heads_pb2.CreateHeadRequest(parent=parent, head_id="h", backbone=TEXTS)
    head = transport.call("CreateHead", creation).head.name
    transport.add(head, [(text(words), label) for words, label in ROWS.items()])
    first = transport.call("TrainHead", heads_pb2.TrainHeadRequest(head=head)).training
    assert (first.activated, first.inactive_reason) == (True, "")
    gone = [text_digest(words) for words in ROWS if words not in ONE_EACH]
    transport.call("DeleteExamples", heads_pb2.DeleteExamplesRequest(head=head, digests=gone))
    second = transport.call("TrainHead", heads_pb2.TrainHeadRequest(head=head)).training
    assert (second.version, second.activated) == (2, False)
    assert "no estimate" in second.inactive_reason
    assert transport.predict(head, [text("lovely")]).rows[0].version == 1

    table = tmp_path / "few.csv"
    rows = [("text", "label"), *ONE_EACH.items()]
    table.write_text("".join(f"{words},{label}\n" for words, label in rows))
    ended = cli("train", f"{tenant}/h", table, "--json")
    assert ended.returncode == 0, ended.stderr
    assert "version 3 does not answer: " in ended.stderr
    told = {row["reason"]: row["words"] for row in json.loads(ended.stdout)["notices"]}
    assert "no estimate" in told["version_inactive"]
    assert json.loads(cli("heads", "show", f"{tenant}/h", "--json").stdout)["active_version"] == 1
    assert "does not answer" not in cli("train", f"{tenant}/h", table, "--activate").stderr
    assert json.loads(cli("heads", "show", f"{tenant}/h", "--json").stdout)["active_version"] == 4
