"""Examples are called what their caller calls them, as long as they are there."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import InvalidRequest
from tests.service.server import HEAD, InProcessServer
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2


def row(
    text: str, label: str | None, name: str | None, *, held_out: bool = False
) -> heads_pb2.NewExample:
    return heads_pb2.NewExample(
        input=common_pb2.Input(text=text), label=label, external_id=name, held_out=held_out
    )


async def named(server: InProcessServer, *names: str, **fields: Any) -> dict[str, str]:
    request = heads_pb2.ListExamplesRequest(head=HEAD, external_ids=names, **fields)
    reply = await server.ask("ListExamples", request)
    return {one.external_id: one.digest for one in reply.examples if one.HasField("external_id")}


async def test_an_example_is_found_by_its_whole_name(server: InProcessServer) -> None:
    await server.create()
    await server.add_rows(row("red one", "red", "a/1"), row("red two", "red", "a/11"))
    await server.add_rows(row("blue one", None, None), row("blue two", "blue", " é\u0301\u200d "))
    one, two = text_digest("red one"), text_digest("red two")
    assert await named(server) == {
        "a/1": one,
        "a/11": two,
        " é\u0301\u200d ": text_digest("blue two"),
    }
    assert await named(server, "a/1", "a/2") == {"a/1": one}
    assert await named(server, "a/1", "a/11", digests=[two[:8]]) == {"a/11": two}
    assert await named(server, "a/1", label="blue") == {}
    suggested = await server.ask("SuggestExamples", heads_pb2.SuggestExamplesRequest(head=HEAD))
    (suggestion,) = suggested.suggestions
    assert not suggestion.example.HasField("external_id")
    await server.add_rows(row("blue one", None, "a/3"))
    suggested = await server.ask("SuggestExamples", heads_pb2.SuggestExamplesRequest(head=HEAD))
    assert suggested.suggestions[0].example.external_id == "a/3"


@pytest.mark.parametrize(
    ("name", "limit", "value"),
    [
        ("ä" * 128 + "x", "256", "257"),
        ("two\nlines", "printable", "'two\\nlines'"),
        ("half \uffff", "printable", "'half \\uffff'"),
        ("\u202egpj", "printable", "'\\u202egpj'"),
    ],
)
async def test_what_cannot_be_a_name_costs_its_row_and_is_not_in_the_reason(
    server: InProcessServer, name: str, limit: str, value: str
) -> None:
    await server.create()
    added = await server.add_rows(row("red one", "red", name), row("red two", "red", "ä" * 128))
    (error,) = added.errors
    assert (added.added, error.row) == (1, 0)
    assert (error.field, error.limit, error.value) == ("external_id", limit, value)
    assert name not in error.message
    with pytest.raises(InvalidRequest, match="external_ids") as refused:
        await named(server, name)
    assert name not in refused.value.message


async def test_no_more_names_are_asked_for_than_a_request_may(server: InProcessServer) -> None:
    await server.create()
    assert await named(server, *(["a"] * 1000)) == {}
    with pytest.raises(InvalidRequest, match="external_ids: from 1 to 1000"):
        await named(server, *(["a"] * 1001))


async def test_a_report_has_the_names_of_now(server: InProcessServer) -> None:
    await server.create(spec=heads_pb2.HeadSpec(family="ridge"))
    texts = {f"{colour} {i}": colour for i in range(8) for colour in ("red", "blue")}
    texts["red wrong"] = "blue"
    await server.add_rows(*(row(text, label, f"old/{text}") for text, label in texts.items()))
    held_out = heads_pb2.NewExample(
        input=common_pb2.Input(text="red t"), label="red", held_out=True, group="scene"
    )
    member = heads_pb2.NewExample(
        input=common_pb2.Input(text="red 0"), label="red", group="scene", external_id="old/red 0"
    )
    await server.add_rows(held_out, member)
    await server.train()
    named_by = {text_digest(text): text for text in texts}

    def told(report: heads_pb2.HeadReport) -> set[str]:
        suspects, pairs = report.likely_mislabelled, report.near_duplicates
        assert suspects
        assert pairs
        found = [(one.digest, one.external_id) for one in suspects]
        found += [(pair.digest, pair.external_id) for pair in pairs]
        found += [(pair.other_digest, pair.other_external_id) for pair in pairs]
        return {name.removesuffix(named_by[digest]) for digest, name in found}

    report = await server.report()
    assert told(report) == {"old/"}
    assert list(report.seen_held_out_external_ids) == [""]
    rows = [row(text, label, f"new/{text}") for text, label in texts.items()]
    await server.add_rows(*rows, row("red t", "red", "new/test", held_out=True))
    report = await server.report()
    assert told(report) == {"new/"}
    assert list(report.seen_held_out_external_ids) == ["new/test"]
    await server.delete(*named_by)
    report = await server.report()
    assert report.likely_mislabelled
    assert not any(one.HasField("external_id") for one in report.likely_mislabelled)
    assert not any(pair.HasField("other_external_id") for pair in report.near_duplicates)


async def test_names_stay_through_changes_of_labels_and_are_not_exported(
    server: InProcessServer,
) -> None:
    await server.create()
    rows = [row(f"{label} {i}", label, f"{label}/{i}") for label in "abe" for i in (1, 2)]
    await server.add_rows(*rows)
    await server.train()
    before = await named(server)
    assert len(before) == 6
    rename = heads_pb2.RenameLabelRequest(head=HEAD, label="a", new_label="c")
    await server.ask("RenameLabel", rename)
    update = heads_pb2.ExampleUpdate(digest=before["b/1"], label="d")
    await server.ask("UpdateExamples", heads_pb2.UpdateExamplesRequest(head=HEAD, updates=[update]))
    await server.feedback({"b 2": "c"})
    await server.ask("MergeLabels", heads_pb2.MergeLabelsRequest(head=HEAD, labels=["d"], into="c"))
    assert await named(server) == before
    exported = await server.ask("ExportHead", heads_pb2.ExportHeadRequest(name=HEAD))
    assert b"b/1" not in exported.SerializeToString()
