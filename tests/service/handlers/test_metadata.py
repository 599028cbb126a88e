"""What callers say of their inputs stays with the examples, and finds them."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import InvalidRequest
from tests.service.server import HEAD, InProcessServer
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2


def row(text: str, label: str | None = None, **pairs: str) -> heads_pb2.NewExample:
    return heads_pb2.NewExample(
        input=common_pb2.Input(text=text), label=label, metadata=common_pb2.Metadata(pairs=pairs)
    )


async def stored(server: InProcessServer) -> dict[str, dict[str, str]]:
    reply = await server.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    return {one.digest: dict(one.metadata.pairs) for one in reply.examples}


async def found(server: InProcessServer, **wanted: Any) -> list[str]:
    reply = await searched(server, **wanted)
    assert reply.next_page_token == ""
    return [one.digest for one in reply.examples]


async def searched(server: InProcessServer, **wanted: Any) -> heads_pb2.SearchExamplesResponse:
    if pairs := wanted.pop("pairs", None):
        wanted["metadata"] = common_pb2.Metadata(pairs=pairs)
    request = heads_pb2.SearchExamplesRequest(head=HEAD, **wanted)
    reply: heads_pb2.SearchExamplesResponse = await server.ask("SearchExamples", request)
    return reply


async def test_pairs_stay_until_others_are_given(server: InProcessServer) -> None:
    await server.create()
    one = text_digest("red one")
    added = await server.add_rows(row("red one", "red", camera="3", site="a"))
    assert not added.changes
    unsaid = heads_pb2.NewExample(input=common_pb2.Input(text="red one"))
    await server.add_rows(unsaid)
    assert await stored(server) == {one: {"camera": "3", "site": "a"}}
    changed = await server.add_rows(row("red one", site="b"))
    kinds = [change.change for change in changed.changes]
    assert kinds == [heads_pb2.UPLOAD_CHANGE_METADATA]
    assert await stored(server) == {one: {"site": "b"}}
    await server.add_rows(row("red one"))
    assert await stored(server) == {one: {}}


async def test_bad_pairs_cost_their_row_alone(server: InProcessServer) -> None:
    await server.create()
    added = await server.add_rows(row("red one", "red", site="a\nb"), row("red two", site="ok"))
    (error,) = added.errors
    assert (added.added, error.row, error.field) == (1, 0, "metadata")
    assert "a\nb" not in error.message


async def test_feedback_brings_what_uploads_do(server: InProcessServer) -> None:
    await server.create(allow_new_labels=True)
    await server.add({"red one": "red", "red two": "red", "blue one": "blue", "blue two": "blue"})
    await server.train()
    rows = [
        prediction_pb2.Feedback(
            input=common_pb2.Input(text=text),
            label="red",
            external_id=f"ids/{text}",
            metadata=common_pb2.Metadata(pairs={"from": "feedback"}),
        )
        for text in ("red three", "red one")
    ]
    rows.append(prediction_pb2.Feedback(input=common_pb2.Input(text="red two"), label="red"))
    rows.append(
        prediction_pb2.Feedback(
            input=common_pb2.Input(text="red four"),
            label="red",
            metadata=common_pb2.Metadata(pairs={"": "x"}),
        )
    )
    reply = await server.ask(
        "SendFeedback", prediction_pb2.SendFeedbackRequest(head=HEAD, feedback=rows)
    )
    assert [(error.row, error.field) for error in reply.errors] == [(3, "metadata")]
    three, one = text_digest("red three"), text_digest("red one")
    assert await found(server, pairs={"from": "feedback"}) == [one, three]
    assert await found(server, external_ids=["ids/red three"]) == [three]


async def test_examples_are_found_by_all_that_is_given(server: InProcessServer) -> None:
    await server.create()
    await server.add_rows(
        row("red one", "red", camera="3", site="a"),
        row("red two", "red", camera="3", site="b"),
        row("blue one", "blue", camera="3"),
        row("blue two"),
    )
    digests = [text_digest(text) for text in ("red one", "red two", "blue one", "blue two")]
    assert await found(server) == digests
    assert await found(server, pairs={"camera": "3"}) == digests[:3]
    assert await found(server, pairs={"camera": "3", "site": "b"}) == digests[1:2]
    assert await found(server, pairs={"camera": "b"}) == []
    assert await found(server, pairs={"camera": "3"}, label="red") == digests[:2]
    first = await searched(server, pairs={"camera": "3"}, page_size=2)
    assert [one.digest for one in first.examples] == digests[:2]
    rest = await searched(
        server, pairs={"camera": "3"}, page_size=2, page_token=first.next_page_token
    )
    assert [one.digest for one in rest.examples] == digests[2:3]
    assert rest.next_page_token == ""


async def test_kept_texts_are_searched_and_others_counted(server: InProcessServer) -> None:
    await server.create(keep_inputs=True)
    texts = {"Red  Straße\nleft": "red", "red one": "red", "ÉCRU": "blue", "blue": None}
    await server.add(texts)
    fingerprint = (await server.head()).fingerprint
    vector = common_pb2.Tensor(dtype="float32", shape=[4], data=bytes(range(16)))
    embedding = common_pb2.Embedding(fingerprint=fingerprint, vector=vector)
    added = await server.add_rows(
        heads_pb2.NewExample(input=common_pb2.Input(embedding=embedding), label="red")
    )
    assert added.added == 1, added.errors
    street, one, ecru, _ = map(text_digest, texts)
    assert await found(server, text="RED") == [street, one]
    assert await found(server, text="strasse red") == [street]
    assert await found(server, text='"red strasse left"') == [street]
    assert await found(server, text='"strasse red"') == []
    assert await found(server, text="e\u0301cru") == [ecru]
    assert await found(server, text="e", label="red") == [street, one]
    assert await found(server, text="%") == []
    assert (await searched(server, text="blue")).not_searched == 1
    assert (await searched(server, text="blue", label="blue")).not_searched == 0
    shown = await searched(server, text="blue", with_inputs=True)
    assert [item.input.text for item in shown.examples] == ["blue"]
    for bad in ("x" * 257, " ", '""'):
        with pytest.raises(InvalidRequest, match="text"):
            await searched(server, text=bad)


async def test_a_page_reads_no_more_texts_than_it_may(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.example_search.MAX_READ", 3)
    await server.create(keep_inputs=True)
    await server.add({f"{word} {i}": "red" for i in range(4) for word in ("cat", "dog")})
    pages: list[list[str]] = []
    token = ""
    while token or not pages:
        page = await searched(server, text="dog", page_token=token, page_size=2)
        pages.append([one.digest for one in page.examples])
        token = page.next_page_token
    assert [digest for page in pages for digest in page] == [
        text_digest(f"dog {i}") for i in range(4)
    ]
    assert max(map(len, pages)) <= 2
    assert len(pages) == 3
