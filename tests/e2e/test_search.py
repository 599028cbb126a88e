"""Examples are found by what is said of them and by what they are like, over both transports."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import TEXTS
from tests.e2e.processes import Running
from tests.e2e.transports import Refused, Transport, text
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2

Sentences = list[tuple[str, str]]


def test_metadata_finds_examples_and_makes_a_head_forget_them(
    transport: Transport, server: Running, tenant: str, sentences: Sentences
) -> None:
    creation = heads_pb2.CreateHeadRequest(
        parent=f"tenants/{tenant}", head_id="h", backbone=TEXTS, keep_inputs=True
    )
    head = transport.call("CreateHead", creation).head.name
    odd = common_pb2.Metadata(pairs={"site": f"{tenant} north", "shift": "1"})
    even = common_pb2.Metadata(pairs={"site": f"{tenant} south", "shift": "1"})
    rows = [
        heads_pb2.NewExample(input=text(words), label=label, metadata=odd if i % 2 else even)
        for i, (words, label) in enumerate(sentences)
    ]
    refused = common_pb2.Metadata(pairs={"site": f"{tenant}\n"})
    rows.append(heads_pb2.NewExample(input=text("refused"), metadata=refused))
    added = transport.call("AddExamples", heads_pb2.AddExamplesRequest(head=head, examples=rows))
    assert [(error.field, error.limit) for error in added.errors] == [("metadata", "printable")]

    asked = heads_pb2.SearchExamplesRequest(
        head=head, metadata=common_pb2.Metadata(pairs={"site": f"{tenant} north"}), page_size=3
    )
    found: list[heads_pb2.Example] = []
    while True:
        page = transport.call("SearchExamples", asked)
        found += page.examples
        if not page.next_page_token:
            break
        asked.page_token = page.next_page_token
    assert [one.digest for one in found] == [text_digest(words) for words, _ in sentences[1::2]]
    assert dict(found[0].metadata.pairs) == dict(odd.pairs)
    word = sentences[0][0].split()[0]
    asked = heads_pb2.SearchExamplesRequest(head=head, text=word.upper(), with_inputs=True)
    matching = transport.call("SearchExamples", asked).examples
    assert {one.input.text for one in matching} == {
        words for words, _ in sentences if word.lower() in words.lower()
    }

    transport.call("TrainHead", heads_pb2.TrainHeadRequest(head=head))
    words = sentences[0][0]
    near = transport.call("FindSimilar", heads_pb2.FindSimilarRequest(head=head, input=text(words)))
    cosines = [one.similarity for one in near.similar]
    assert cosines == sorted(cosines, reverse=True)
    assert text_digest(words) not in [one.example.digest for one in near.similar]
    rows_of = transport.predict(head, [text(words), text("quite new")], neighbours=2).rows
    assert rows_of[0].neighbours[0] == text_digest(words)
    assert len(rows_of[1].neighbours) == 2

    forgotten = transport.call(
        "ForgetExamples", heads_pb2.ForgetExamplesRequest(head=head, metadata=odd)
    )
    assert forgotten.forgotten == len(sentences[1::2])
    asked = heads_pb2.SearchExamplesRequest(head=head, metadata=odd)
    assert not transport.call("SearchExamples", asked).examples
    listed = transport.call("ListExamples", heads_pb2.ListExamplesRequest(head=head)).examples
    assert len(listed) == len(sentences[::2])
    assert f"{tenant} north" not in server.log.read_text(encoding="utf-8")


def test_forgetting_never_means_everything(transport: Transport, tenant: str) -> None:
    creation = heads_pb2.CreateHeadRequest(parent=f"tenants/{tenant}", head_id="h", backbone=TEXTS)
    head = transport.call("CreateHead", creation).head.name
    one = heads_pb2.AddExamplesRequest(
        head=head, examples=[heads_pb2.NewExample(input=text("one"), external_id="a/1")]
    )
    transport.call("AddExamples", one)
    pair = common_pb2.Metadata(pairs={"a": "b"})
    for wrong, field in (
        (heads_pb2.ForgetExamplesRequest(metadata=common_pb2.Metadata()), "metadata"),
        (heads_pb2.ForgetExamplesRequest(external_ids=[""]), "external_ids"),
        (heads_pb2.ForgetExamplesRequest(digests=["0" * 64], metadata=pair), "digests"),
    ):
        wrong.head = head
        with pytest.raises(Refused) as refused:
            transport.call("ForgetExamples", wrong)
        assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", field)
    nothing = heads_pb2.ForgetExamplesRequest(head=head, metadata=pair)
    assert transport.call("ForgetExamples", nothing).forgotten == 0
    named = heads_pb2.ForgetExamplesRequest(head=head, external_ids=["a/1"])
    assert transport.call("ForgetExamples", named).forgotten == 1
