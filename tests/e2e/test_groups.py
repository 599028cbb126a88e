"""Examples that belong together, and copies of one thing, over both transports and the client."""

from __future__ import annotations

from typing import cast

import pytest

from tests.e2e.conftest import TEXTS
from tests.e2e.transports import Transport, text
from trunkline import Client, InvalidArgument, NewExample
from trunkline.v1 import advice_pb2, heads_pb2

Sentences = list[tuple[str, str]]


def test_groups_are_kept_held_out_together_and_reported(
    transport: Transport, tenant: str, sentences: Sentences
) -> None:
    parent = f"tenants/{tenant}"
    creation = heads_pb2.CreateHeadRequest(parent=parent, head_id="h", backbone=TEXTS)
    head = transport.call("CreateHead", creation).head.name
    rows = [
        heads_pb2.NewExample(input=text(words), label=label, group=f"letter {i // 4}")
        for i, (words, label) in enumerate(sentences[:24])
    ]
    # Two sentences that differ in a full stop alone, and a class of one example.
    rows += [
        heads_pb2.NewExample(input=text("A word about something else"), label="positive"),
        heads_pb2.NewExample(input=text("A word about something else."), label="positive"),
        heads_pb2.NewExample(input=text("Nothing of the kind"), label="positiv"),
        heads_pb2.NewExample(input=text("refused"), label="positive", group="g" * 257),
        heads_pb2.NewExample(input=text("refused"), label="positive", group="two\nlines"),
    ]
    added = transport.call("AddExamples", heads_pb2.AddExamplesRequest(head=head, examples=rows))
    assert (added.added, [error.row for error in added.errors]) == (27, [27, 28])
    assert [error.field for error in added.errors] == ["group", "group"]
    assert added.errors[0].limit == "256"
    again = heads_pb2.NewExample(input=rows[0].input, label=rows[0].label)
    transport.call("AddExamples", heads_pb2.AddExamplesRequest(head=head, examples=[again]))
    listed = transport.call("ListExamples", heads_pb2.ListExamplesRequest(head=head)).examples
    assert [one.group for one in listed][:5] == ["letter 0"] * 4 + ["letter 1"]
    assert not listed[-1].HasField("group")
    trained = transport.call("TrainHead", heads_pb2.TrainHeadRequest(head=head)).training
    name = f"{head}/versions/{trained.version}"
    report = transport.call("GetHeadReport", heads_pb2.GetHeadReportRequest(name=name)).report
    assert (report.groups.named, report.groups.count) == (6, 8)
    assert report.groups.near_copies_within == 2
    assert (report.estimate.examples, report.estimate.groups) == (26, 7)
    assert report.estimate.effective_examples < 7
    (single,) = [one for one in report.classes if one.no_estimate]
    assert (single.label, single.examples, single.HasField("recall")) == ("positiv", 1, False)
    assert any("Was 'positive' meant?" in warning for warning in report.warnings)


def test_advice_holds_named_groups_out_together(
    transport: Transport, tenant: str, sentences: Sentences
) -> None:
    examples = [
        advice_pb2.LabelledInput(input=text(words), label=label, group=f"letter {i // 4}")
        for i, (words, label) in enumerate(sentences[:24])
    ]
    asked = advice_pb2.AdviseRequest(parent=f"tenants/{tenant}", examples=examples)
    advice = transport.call("Advise", asked, 150.0).advice
    assert advice.group_count == 6
    assert {option.estimate.groups for option in advice.options} == {6}
    assert any("6 named groups" in reason for reason in advice.reasons)


def test_the_client_names_groups(client: Client, tenant: str, sentences: Sentences) -> None:
    head = f"{tenant}/texts"
    client.create_head(head, TEXTS)
    items = [NewExample(words, label, group="all") for words, label in sentences[:8]]
    client.upload(head, [*items, ("an altogether different one", "positive")])
    assert [one.group for one in client.list_examples(head)] == ["all"] * 8 + [None]
    training = client.train(head)
    report = client.report(head, training.version)
    assert report.estimate is None
    assert report.groups is not None
    assert (report.groups.count, report.groups.named) == (2, 1)
    assert "There is no estimate" in report.warnings[0]
    advice = client.advise(tenant, [NewExample(words, label) for words, label in sentences[:24]])
    assert advice.group_count == 24
    with pytest.raises(InvalidArgument, match="group"):
        client.advise(tenant, [NewExample("words", "label", group=cast(str, 5))])


def test_a_group_is_refused_row_by_row_in_advice(
    transport: Transport, tenant: str, sentences: Sentences
) -> None:
    examples = [
        advice_pb2.LabelledInput(input=text(words), label=label, group=" x" if i == 3 else "")
        for i, (words, label) in enumerate(sentences[:20])
    ]
    asked = advice_pb2.AdviseRequest(parent=f"tenants/{tenant}", examples=examples)
    reply = transport.call("Advise", asked, 150.0)
    assert [(error.row, error.field) for error in reply.errors] == [(3, "group")]


def test_a_class_that_feedback_brought_is_in_the_next_version(
    client: Client, tenant: str, sentences: Sentences
) -> None:
    head = f"{tenant}/texts"
    client.create_head(head, TEXTS, allow_new_labels=True)
    client.upload(head, sentences)
    before = client.report(head, client.train(head).version)
    client.feedback(head, [("neither here nor there", "neutral")])
    after = client.report(head, client.train(head).version)
    assert [one.label for one in after.classes] == ["negative", "neutral", "positive"]
    assert [one.no_estimate for one in after.classes] == ["", "it has a single example", ""]
    assert before.estimate is not None
    assert after.estimate is not None
    assert after.estimate.examples == before.estimate.examples
    assert sum(one.estimate is not None for one in after.candidates) > 1
