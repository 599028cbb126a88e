"""Classes are renamed, merged and deleted by the command line, and over both transports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import TEXTS, Cli
from tests.e2e.processes import Running
from tests.e2e.transports import METHODS, Rest, Transport, text
from trunkline import Client, Prediction, RowFailure
from trunkline.v1 import advice_pb2, heads_pb2, prediction_pb2

ROWS = [
    ("charged twice this month", "billing"),
    ("refund my last payment", "billing"),
    ("the invoice for March", "invoices"),
    ("an invoice with our VAT number", "invoices"),
    ("my password does not work", "login"),
    ("cannot sign in on my phone", "login"),
    ("will it rain tomorrow", "weather"),
    ("is it sunny in Lisbon", "weather"),
]


def make(client: Client, tenant: str) -> str:
    head = f"{tenant}/tickets"
    client.create_head(head, TEXTS)
    client.upload(head, ROWS)
    client.train(head)
    return head


def test_head_answers_by_what_its_classes_are_said_to_mean(
    cli: Cli, client: Client, tenant: str
) -> None:
    head = f"{tenant}/mail"
    client.create_head(head, TEXTS)
    meanings = ("refund=the customer wants their money back", "login=somebody cannot sign in")
    described = cli("classes", "describe", head, *meanings)
    assert "version 1: 2 classes are described" in described.stdout, described.stderr
    answered = cli("predict", head, "--text", "I forgot my password")
    assert answered.stdout.split("\t")[1] == "login"
    assert "by description" in answered.stdout
    assert "login is" in cli("heads", "show", head).stdout
    report = cli("report", head)
    said = " ".join((report.stdout + report.stderr).split())
    assert "2 classes stand on what they are said to mean" in said
    gone = cli("classes", "describe", head, "--none")
    assert "no class is described any more" in gone.stdout, gone.stderr
    wrong = cli("classes", "describe", head, "refund", "--none")
    assert (wrong.returncode, "Give classes" in wrong.stderr) == (2, True)
    same = cli("classes", "describe", head, "a=x", "b=x", "--json")
    assert json.loads(same.stdout)["error"]["field"] == "descriptions"


def test_inputs_are_classified_by_examples_over_both_transports(
    client: Client, server: Running, tenant: str
) -> None:
    request = prediction_pb2.ClassifyRequest(
        tenant=f"tenants/{tenant}",
        backbone=TEXTS,
        examples=[
            advice_pb2.LabelledInput(input=text(words), label=label) for words, label in ROWS[:6]
        ],
        inputs=[text("I cannot log in"), text("")],
        top_k=1,
    )
    rest = Rest(server.rest)
    reply = rest.send(METHODS["Classify"], request).json()
    rest.close()
    found = client.classify(tenant, ["I cannot log in", ""], ROWS[:6], TEXTS, 1)
    answer, failure = found.outcomes
    assert isinstance(answer, Prediction)
    assert isinstance(failure, RowFailure)
    row, failed = reply["predictions"]
    assert (row["label"], answer.label) == ("login", "login")
    assert row["scores"] == {"login": pytest.approx(answer.probability, abs=1e-6)}
    assert (failed["error"]["code"], failure.code) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert found.estimate is not None
    assert found.estimate.examples == reply["estimate"]["examples"] == 6
    assert found.estimate.accuracy_high - found.estimate.accuracy_low > 0.3


def test_classes_are_changed_by_the_command_line(cli: Cli, client: Client, tenant: str) -> None:
    head = make(client, tenant)
    renamed = cli("classes", "rename", head, "login", "access")
    assert "version 2 answers with the new name" in renamed.stdout, renamed.stderr
    merged = cli("classes", "merge", head, "billing", "invoices", "--into", "payments")
    words = "billing, invoices are payments: 4 examples changed, 0 feedback"
    assert words in merged.stdout, merged.stderr
    assert "version 3 answers" in merged.stdout
    deleted = cli("classes", "delete", head, "weather", "--delete-examples", "--yes")
    assert "deleted weather: 2 examples deleted" in deleted.stdout, deleted.stderr
    listed = json.loads(cli("classes", "list", head, "--json").stdout)
    assert [(row["label"], row["example_count"]) for row in listed["labels"]] == [
        ("access", 2),
        ("payments", 4),
    ]
    assert client.get_head(head).labels == ("access", "payments")
    (answer,) = client.predict(head, [ROWS[4][0]])
    assert answer.label == "access"  # type: ignore[union-attr]


def test_deleting_a_class_without_a_terminal_wants_to_be_told_all(
    cli: Cli, client: Client, tenant: str
) -> None:
    head = make(client, tenant)
    for options in ([], ["--delete-examples"], ["--yes"]):
        refused = cli("classes", "delete", head, "weather", *options)
        assert (refused.returncode, refused.stdout) == (2, "")
    assert len(client.labels(head)) == 4


def test_activating_an_earlier_version_says_which_classes_change(
    cli: Cli, client: Client, tenant: str
) -> None:
    head = make(client, tenant)
    client.rename_label(head, "login", "access")
    activated = cli("heads", "activate", head, "1")
    assert "answers lose access and gain login" in activated.stderr


def test_activating_an_earlier_version_says_which_feedback_counts_no_longer(
    cli: Cli, client: Client, tenant: str
) -> None:
    head = make(client, tenant)
    client.feedback(head, [("my card was charged for nothing", "billing")])
    client.train(head)
    back = cli("heads", "activate", head, "1")
    assert "1 feedback that version 1 has not learned is in quarantine" in _words(back.stderr)
    forth = cli("heads", "activate", head, "2")
    assert "1 feedback that version 2 has learned is out of quarantine" in _words(forth.stderr)


def _words(text: str) -> str:
    return " ".join(text.split())


def test_labels_are_changed_over_both_transports(
    transport: Transport, client: Client, tenant: str
) -> None:
    head = f"tenants/{make(client, tenant).replace('/', '/heads/')}"
    rename = heads_pb2.RenameLabelRequest(head=head, label="login", new_label="access")
    reply = transport.call("RenameLabel", rename)
    assert (reply.changes.examples, reply.version.source) == (2, "rename")
    merge = heads_pb2.MergeLabelsRequest(head=head, labels=["billing"], into="invoices")
    assert transport.call("MergeLabels", merge).changes.examples == 2
    transport.call("TrainHead", heads_pb2.TrainHeadRequest(head=head))
    delete = heads_pb2.DeleteLabelRequest(
        head=head, label="weather", examples=heads_pb2.EXAMPLES_OF_LABEL_KEEP
    )
    assert transport.call("DeleteLabel", delete).changes.examples == 2
    listed = transport.call("ListLabels", heads_pb2.ListLabelsRequest(head=head))
    assert [(row.label, row.example_count) for row in listed.labels if row.example_count] == [
        ("access", 2),
        ("invoices", 4),
    ]


def test_client_keeps_what_json_prints(cli: Cli, client: Client, tenant: str) -> None:
    head = make(client, tenant)
    renamed = json.loads(cli("classes", "rename", head, "login", "access", "--json").stdout)
    assert (renamed["examples"], renamed["version"]["version"], renamed["training"]) == (2, 2, None)
    merged = cli("classes", "merge", head, "billing", "--into", "invoices", "--json")
    document = json.loads(merged.stdout)
    assert (document["examples"], document["training"]["state"]) == (2, "succeeded")
    assert Path(document["head"]["name"]).name == "tickets"
