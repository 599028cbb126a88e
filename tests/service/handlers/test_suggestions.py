"""What to label next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.errors import InvalidRequest, PreconditionFailed
from service.requests.tensors import to_tensor
from tests.service.learning_head import GATED, IMMEDIATE, OpenLearningHead, strangers, unlike
from tests.service.server import HEAD, InProcessServer, StartServer, texts
from tests.service.tiny_backbone import DIM, FINGERPRINT
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2


async def suggest(server: InProcessServer, **values: Any) -> heads_pb2.SuggestExamplesResponse:
    request = heads_pb2.SuggestExamplesRequest(head=HEAD, **values)
    response: heads_pb2.SuggestExamplesResponse = await server.ask("SuggestExamples", request)
    return response


def at(position: float, label: str | None = None) -> heads_pb2.NewExample:
    """An embedding somewhere between the classes "low", around 0, and "high", around 10."""
    vector = np.full(DIM, position, np.float32)
    embedding = common_pb2.Embedding(fingerprint=FINGERPRINT, vector=to_tensor(vector))
    return heads_pb2.NewExample(input=common_pb2.Input(embedding=embedding), label=label)


LABELLED = [at(i / 10, "low") for i in range(5)] + [at(10 - i / 10, "high") for i in range(5)]


async def test_most_doubtful_inputs_come_first_with_what_the_head_says(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add_rows(*LABELLED)
    await server.train(spec=heads_pb2.HeadSpec(family="logistic"))
    await server.add_rows(*(at(position) for position in (-3, -2, 5.1, 12, 13)))
    response = await suggest(server, count=1, strategy="margin")
    (first,) = response.suggestions
    listed = await server.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    assert first.example == listed.examples[len(LABELLED) + 2]
    assert first.predicted_label in ("low", "high")
    assert 0.5 <= first.probability < 0.95
    assert not first.HasField("input")
    sure = (await suggest(server, count=5)).suggestions
    assert max(item.probability for item in sure) > first.probability


@pytest.mark.parametrize("policy", [IMMEDIATE, GATED])
async def test_suggestions_tell_what_answers_now_the_live_copy_if_it_serves(
    open_learning_head: OpenLearningHead, policy: heads_pb2.FeedbackPolicy.ValueType
) -> None:
    async with open_learning_head(policy) as head:
        inputs = strangers(10)
        await head.add(inputs[5:], None)
        other = await unlike(head, inputs)
        await head.send(inputs[:5], other)
        answers = set(await head.labels(inputs[5:]))
        assert answers == {other} if policy == IMMEDIATE else other not in answers
        suggestions = (await suggest(head.server)).suggestions
        assert len(suggestions) == 5
        assert {item.predicted_label for item in suggestions} == answers


async def test_head_that_is_not_trained_gets_a_diverse_choice(server: InProcessServer) -> None:
    await server.create()
    await server.add_rows(*(at(position) for position in (0, 0.1, 0.2, 0.3, 10)))
    response = await suggest(server, count=2)
    assert response.strategy == "diverse"
    assert len({item.example.digest for item in response.suggestions}) == 2
    assert all(item.predicted_label == "" for item in response.suggestions)
    with pytest.raises(PreconditionFailed) as caught:
        await suggest(server, strategy="margin")
    assert caught.value.field == "strategy"


async def test_labelled_and_held_out_examples_are_never_suggested(server: InProcessServer) -> None:
    await server.create()
    assert list((await suggest(server)).suggestions) == []
    held_out = heads_pb2.NewExample(input=texts("h")[0], held_out=True)
    await server.add_rows(held_out, *LABELLED)
    await server.add({"one": None, "two": None})
    suggested = (await suggest(server)).suggestions
    assert {item.example.digest for item in suggested} == {text_digest("one"), text_digest("two")}


async def test_labelled_suggestion_is_not_made_again(server: InProcessServer) -> None:
    await server.create()
    await server.add(dict.fromkeys("abcdef"))
    seen: list[str] = []
    while found := (await suggest(server, count=2, strategy="random")).suggestions:
        digests = [item.example.digest for item in found]
        seen += digests
        updates = [heads_pb2.ExampleUpdate(digest=digest, label="x") for digest in digests]
        await server.ask(
            "UpdateExamples", heads_pb2.UpdateExamplesRequest(head=HEAD, updates=updates)
        )
    assert sorted(seen) == sorted(text_digest(text) for text in "abcdef")


async def test_kept_inputs_are_sent_along_as_far_as_a_message_takes_them(
    start_server: StartServer,
) -> None:
    size = 1024 * 1024
    async with start_server(
        max_message_bytes=size, max_image_bytes=size // 4, max_text_bytes=size // 2
    ) as server:
        await server.create(keep_inputs=True)
        await server.add({letter * (size // 5 * 2): None for letter in "abc"})
        suggestions = (await suggest(server)).suggestions
        assert [item.HasField("input") for item in suggestions] == [True, True, False]
        sent = suggestions[0]
        assert text_digest(sent.input.text) == sent.example.digest


@pytest.mark.parametrize(
    ("values", "field"), [({"count": 1001}, "count"), ({"strategy": "oracle"}, "strategy")]
)
async def test_impossible_wish_is_refused(
    server: InProcessServer, values: dict[str, Any], field: str
) -> None:
    await server.create()
    with pytest.raises(InvalidRequest) as caught:
        await suggest(server, **values)
    assert caught.value.field == field
