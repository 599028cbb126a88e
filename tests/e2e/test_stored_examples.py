"""Stored examples are listed, shown, relabelled and deleted one by one, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.conftest import TEXTS, Cli
from tests.e2e.transports import Transport
from trunkline import Client, NewExample, Text
from trunkline.digest import text_digest
from trunkline.v1 import heads_pb2

ROWS = [("works well", "good"), ("love it", "good"), ("broke at once", "bad"), ("hate it", "bad")]


THINGS = ("kettle", "bicycle", "novel", "train ride", "soup", "phone", "garden chair", "concert")


def make(client: Client, tenant: str) -> str:
    head = f"{tenant}/reviews"
    client.create_head(head, TEXTS)
    client.upload(head, [*ROWS, NewExample("so so")])
    return head


def test_examples_are_listed_by_class_and_without_one(
    cli: Cli, client: Client, tenant: str
) -> None:
    head = make(client, tenant)
    listed = json.loads(cli("examples", "list", head, "--label", "bad", "--json").stdout)
    assert [row["digest"] for row in listed["examples"]] == [
        text_digest(text) for text, label in ROWS if label == "bad"
    ]
    table = cli("examples", "list", head, "--unlabelled").stdout.splitlines()
    assert len(table) == 2
    assert table[1].startswith(text_digest("so so")[:16])


def test_example_is_found_by_what_a_list_shows_of_its_digest(
    cli: Cli, client: Client, tenant: str
) -> None:
    head = make(client, tenant)
    shown = cli("examples", "list", head, "--label", "good").stdout.splitlines()[1].split()[0]
    relabelled = cli("examples", "relabel", head, "fine", shown)
    assert relabelled.stdout == "1 example labelled fine\n", relabelled.stderr
    found = json.loads(cli("examples", "show", head, shown, "--json").stdout)["examples"]
    assert [(row["digest"], row["label"]) for row in found] == [(text_digest("works well"), "fine")]


def test_examples_of_a_table_are_relabelled_and_deleted(
    cli: Cli, client: Client, tenant: str, tmp_path: Path
) -> None:
    head = make(client, tenant)
    table = tmp_path / "wrong.csv"
    table.write_text("text\nlove it\nhate it\n", encoding="utf-8")
    assert cli("examples", "relabel", head, "mixed", table).returncode == 0
    assert {row.label for row in client.list_examples(head)} == {"good", "bad", "mixed", None}
    assert cli("examples", "relabel", head, "", "--text", "love it").returncode == 0
    assert cli("examples", "delete", head, table).returncode == 2
    deleted = cli("examples", "delete", head, table, "--yes")
    assert deleted.stdout == "deleted 2 examples\n", deleted.stderr
    assert len(list(client.list_examples(head))) == 3


def test_what_is_not_there_is_named(cli: Cli, client: Client, tenant: str) -> None:
    head = make(client, tenant)
    shown = cli("examples", "show", head, "--text", "love it", "--text", "never seen")
    assert (shown.returncode, len(shown.stdout.splitlines())) == (1, 2)
    assert "1 input of no example" in shown.stderr
    assert "never seen" in shown.stderr
    unknown = cli("examples", "show", head, "0123456789")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no example whose digest begins with 0123456789" in unknown.stderr


def test_inputs_that_are_kept_can_be_read_over_both_transports(
    transport: Transport, client: Client, tenant: str
) -> None:
    head = f"{tenant}/keeps"
    client.create_head(head, TEXTS, keep_inputs=True)
    client.upload(head, ROWS)
    request = heads_pb2.ListExamplesRequest(
        head=f"tenants/{tenant}/heads/keeps", digests=[text_digest("hate it")], with_inputs=True
    )
    (row,) = transport.call("ListExamples", request).examples
    assert (row.input.text, row.has_input) == ("hate it", True)
    request.with_inputs = False
    (row,) = transport.call("ListExamples", request).examples
    assert not row.HasField("input")
    listed = client.list_examples(head, with_inputs=True)
    assert [row.input for row in listed] == [Text(text) for text, _ in ROWS]


def test_report_shows_kept_texts_and_the_accuracy_of_the_live_copy_that_answers(
    cli: Cli, client: Client, tenant: str, tmp_path: Path
) -> None:
    head, page = f"{tenant}/live", tmp_path / "report.html"
    good = [(f"The {thing} is great, I love it", "good") for thing in THINGS]
    bad = [(f"The {thing} broke, awful, I hate it", "bad") for thing in THINGS]
    suspect = good[0][0].upper()  # the same to a backbone that reads small letters
    client.create_head(head, TEXTS, keep_inputs=True, policy="immediate")
    client.upload(head, [*good, *bad, (suspect, "bad")])
    client.train(head)
    client.feedback(head, [("so good", "good"), ("so bad", "bad"), ("it broke", "bad")])
    client.predict(head, ["so good"])  # which waits for the live copy
    shown = cli("report", head, "--html", page)
    assert shown.returncode == 0, shown.stderr
    (line,) = (row for row in shown.stdout.splitlines() if row.startswith("live copy, which"))
    right, _, rest = line.removeprefix("live copy, which answers").strip().partition("%")
    assert float(right) <= 100
    assert rest.startswith(" of 3 feedbacks; version 1: ")
    text = page.read_text(encoding="utf-8")
    assert f"{right}%<small>of 3 feedbacks; version 1: " in text
    assert suspect in text
