"""What labels are, which of them counts, and what is told of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import TEXTS
from tests.e2e.processes import Running, run
from tests.e2e.transports import Refused, Transport
from trunkline import Client, Receipt
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
ROWS = [
    ("strong and black", COMPOSED),
    ("a cup of espresso", DECOMPOSED),
    ("green leaves in hot water", "tea"),
    ("a pot of earl grey", "tea"),
]


def create(transport: Transport, tenant: str, **values: Any) -> str:
    request = heads_pb2.CreateHeadRequest(
        parent=f"tenants/{tenant}", head_id="drinks", backbone=TEXTS, **values
    )
    name: str = transport.call("CreateHead", request).head.name
    return name


def add(
    transport: Transport, head: str, rows: list[tuple[str, str]], *, overwrite: bool = False
) -> list[tuple[int, str, str, str]]:
    request = heads_pb2.AddExamplesRequest(
        head=head,
        examples=[
            heads_pb2.NewExample(input=common_pb2.Input(text=text), label=label)
            for text, label in rows
        ],
        overwrite=overwrite,
    )
    reply = transport.call("AddExamples", request)
    name = heads_pb2.UploadChange.Name
    return [
        (row.row, name(row.change).removeprefix("UPLOAD_CHANGE_"), row.from_label, row.to_label)
        for row in reply.changes
    ]


def send(transport: Transport, head: str, *rows: tuple[str, str, str]) -> Any:
    feedback = [
        prediction_pb2.Feedback(id=name, input=common_pb2.Input(text=text), label=label)
        for name, text, label in rows
    ]
    return transport.call(
        "SendFeedback", prediction_pb2.SendFeedbackRequest(head=head, feedback=feedback)
    )


def test_label_is_one_in_every_form_and_what_changes_it_says_so(
    transport: Transport, tenant: str
) -> None:
    head = create(transport, tenant, spec=heads_pb2.HeadSpec(class_weights={DECOMPOSED: 2.0}))
    assert add(transport, head, ROWS) == []
    both = heads_pb2.HeadSpec(class_weights={DECOMPOSED: 2.0, COMPOSED: 1.0})
    with pytest.raises(Refused) as refused:
        transport.call("TrainHead", heads_pb2.TrainHeadRequest(head=head, spec=both))
    assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "class_weights")
    transport.call("TrainHead", heads_pb2.TrainHeadRequest(head=head))
    found = transport.call("GetHead", heads_pb2.GetHeadRequest(name=head)).head
    assert list(found.labels) == [COMPOSED, "tea"]
    assert dict(found.spec.class_weights) == {COMPOSED: 2.0}
    listed = transport.call(
        "ListExamples", heads_pb2.ListExamplesRequest(head=head, label=DECOMPOSED)
    )
    assert len(listed.examples) == 2

    reply = send(
        transport,
        head,
        ("one", ROWS[2][0], DECOMPOSED),
        ("one", ROWS[2][0], COMPOSED),
        ("one", ROWS[2][0], "tea"),
        ("one", ROWS[3][0], COMPOSED),
    )
    assert list(reply.duplicates) == [False, True, False, False]
    assert [(e.row, e.code, e.field, e.value) for e in reply.errors] == [
        (row, "ALREADY_EXISTS", "id", "one") for row in (2, 3)
    ]
    assert list(reply.previous_labels) == ["tea", "", "", ""]

    changes = add(transport, head, [*ROWS, (ROWS[0][0], "tea"), (ROWS[1][0], COMPOSED)])
    assert changes == [
        (2, "CORRECTION_KEPT", "tea", COMPOSED),
        (4, "ROW_CONTRADICTED", COMPOSED, "tea"),
        (4, "LABEL_REPLACED", COMPOSED, "tea"),
        (5, "ROW_REPEATED", "", ""),
    ]
    (change,) = add(transport, head, [ROWS[2]], overwrite=True)
    assert change == (0, "CORRECTION_REPLACED", COMPOSED, "tea")


def test_form_can_overwrite(http: httpx.Client, client: Client, tenant: str) -> None:
    head = f"{tenant}/drinks"
    client.create_head(head, TEXTS)
    client.upload(head, ROWS)
    client.feedback(head, [(ROWS[2][0], COMPOSED)])
    form = {"text": (None, ROWS[2][0]), "label": (None, "tea"), "overwrite": (None, "true")}
    reply = http.post(f"/v1/tenants/{tenant}/heads/drinks/examples", files=form).json()
    assert [row["change"] for row in reply["changes"]] == ["UPLOAD_CHANGE_CORRECTION_REPLACED"]
    assert reply["change_counts"] == [{"change": "UPLOAD_CHANGE_CORRECTION_REPLACED", "rows": 1}]


def test_groups_are_one_in_every_form_and_labels_keep_their_joiners(
    transport: Transport, tenant: str
) -> None:
    head = create(transport, tenant)

    def upload(label: str, group: str) -> Any:
        item = common_pb2.Input(text=ROWS[0][0])
        example = heads_pb2.NewExample(input=item, label=label, group=group)
        request = heads_pb2.AddExamplesRequest(head=head, examples=[example])
        return transport.call("AddExamples", request)

    family = "\N{MAN}\N{ZERO WIDTH JOINER}\N{GIRL}"
    assert upload(family, DECOMPOSED).added == 1
    again = upload(family, COMPOSED)
    assert (again.unchanged, list(again.changes)) == (1, [])
    (error,) = upload("tea\N{ZERO WIDTH SPACE}", "").errors
    assert (error.field, "\\u200b" in error.message) == ("label", True)


def test_command_line_tells_what_an_upload_changes(
    server: Running, client: Client, tenant: str, tmp_path: Path
) -> None:
    head = f"{tenant}/drinks"
    table = tmp_path / "drinks.csv"

    def train(*options: str) -> Any:
        command = [sys.executable, "-m", "trunkline", "train", head, str(table), *options]
        ended = run([*command, "--json"], TRUNKLINE_SERVER=server.grpc)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout), ended.stderr

    rows = [*ROWS, (ROWS[0][0], "tea"), (ROWS[0][0], DECOMPOSED), (ROWS[1][0], COMPOSED)]
    table.write_text("".join(f"{text},{label}\n" for text, label in [("text", "label"), *rows]))
    document, errors = train()
    assert [row["label"] for row in document["report"]["classes"]] == [COMPOSED, "tea"]
    assert [(row["reason"], row["count"]) for row in document["notices"]] == [
        ("label_normalised", 1),
        ("row_repeated", 1),
        ("row_contradicted", 1),
    ]
    assert f"{ROWS[0][0]} ({COMPOSED}, then tea, then {COMPOSED})" in errors

    (receipt,) = client.feedback(head, [(ROWS[2][0], COMPOSED)])
    assert isinstance(receipt, Receipt)
    assert receipt.previous_label == "tea"
    kept, _ = train()
    told = {row["reason"]: row for row in kept["notices"]}
    assert told["correction_kept"] == {
        "reason": "correction_kept",
        "words": "1 label corrected by feedback since its upload stays so; --overwrite replaces it",
        "count": 1,
        "names": [f"{table}:4 (tea -> {COMPOSED})"],
    }
    labels = {row.digest: row.label for row in client.list_examples(head)}
    assert labels[text_digest(ROWS[2][0])] == COMPOSED
    replaced, _ = train("--overwrite")
    assert "correction_replaced" in [row["reason"] for row in replaced["notices"]]
    assert replaced["upload"]["changes"][0]["change"] == "correction_replaced"
    table.write_text(table.read_text().replace(f"{ROWS[3][0]},tea", f"{ROWS[3][0]},{COMPOSED}"))
    changed, errors = train()
    assert f"1 label changed by this upload: {table}:5 (tea -> {COMPOSED})" in errors
    assert "label_replaced" in [row["reason"] for row in changed["notices"]]
