"""What to label next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.errors import InvalidRequest, PreconditionFailed
from service.requests.tensors import to_tensor
from tests.service.doubles import DIM, FINGERPRINT
from tests.service.house import HEAD, House, Open, texts
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2


async def suggest(house: House, **values: Any) -> heads_pb2.SuggestExamplesResponse:
    request = heads_pb2.SuggestExamplesRequest(head=HEAD, **values)
    response: heads_pb2.SuggestExamplesResponse = await house.ask("SuggestExamples", request)
    return response


def at(position: float, label: str | None = None) -> heads_pb2.NewExample:
    """An embedding somewhere between the classes "low", around 0, and "high", around 10."""
    vector = np.full(DIM, position, np.float32)
    embedding = common_pb2.Embedding(fingerprint=FINGERPRINT, vector=to_tensor(vector))
    return heads_pb2.NewExample(input=common_pb2.Input(embedding=embedding), label=label)


LABELLED = [at(i / 10, "low") for i in range(5)] + [at(10 - i / 10, "high") for i in range(5)]


async def test_most_doubtful_inputs_come_first_with_what_the_head_says(house: House) -> None:
    await house.create()
    await house.add_rows(*LABELLED)
    await house.train(spec=heads_pb2.HeadSpec(family="logistic"))
    await house.add_rows(*(at(position) for position in (-3, -2, 5.1, 12, 13)))
    response = await suggest(house, count=1, strategy="margin")
    (first,) = response.suggestions
    listed = await house.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    assert first.example == listed.examples[len(LABELLED) + 2]
    assert first.predicted_label in ("low", "high")
    assert 0.5 <= first.probability < 0.95
    assert not first.HasField("input")
    sure = (await suggest(house, count=5)).suggestions
    assert max(item.probability for item in sure) > first.probability


async def test_head_that_is_not_trained_gets_a_diverse_choice(house: House) -> None:
    await house.create()
    await house.add_rows(*(at(position) for position in (0, 0.1, 0.2, 0.3, 10)))
    response = await suggest(house, count=2)
    assert response.strategy == "diverse"
    assert len({item.example.digest for item in response.suggestions}) == 2
    assert all(item.predicted_label == "" for item in response.suggestions)
    with pytest.raises(PreconditionFailed) as caught:
        await suggest(house, strategy="margin")
    assert caught.value.field == "strategy"


async def test_labelled_and_held_out_examples_are_never_suggested(house: House) -> None:
    await house.create()
    assert list((await suggest(house)).suggestions) == []
    held_out = heads_pb2.NewExample(input=texts("h")[0], held_out=True)
    await house.add_rows(held_out, *LABELLED)
    await house.add({"one": None, "two": None})
    suggested = (await suggest(house)).suggestions
    assert {item.example.digest for item in suggested} == {text_digest("one"), text_digest("two")}


async def test_labelled_suggestion_is_not_made_again(house: House) -> None:
    await house.create()
    await house.add(dict.fromkeys("abcdef"))
    seen: list[str] = []
    while found := (await suggest(house, count=2, strategy="random")).suggestions:
        digests = [item.example.digest for item in found]
        seen += digests
        updates = [heads_pb2.ExampleUpdate(digest=digest, label="x") for digest in digests]
        await house.ask(
            "UpdateExamples", heads_pb2.UpdateExamplesRequest(head=HEAD, updates=updates)
        )
    assert sorted(seen) == sorted(text_digest(text) for text in "abcdef")


async def test_kept_inputs_are_sent_along_as_far_as_a_message_takes_them(
    open_house: Open,
) -> None:
    size = 1024 * 1024
    async with open_house(
        max_message_bytes=size, max_image_bytes=size // 4, max_text_bytes=size // 2
    ) as house:
        await house.create(keep_inputs=True)
        await house.add({letter * (size // 5 * 2): None for letter in "abc"})
        suggestions = (await suggest(house)).suggestions
        assert [item.HasField("input") for item in suggestions] == [True, True, False]
        sent = suggestions[0]
        assert text_digest(sent.input.text) == sent.example.digest


@pytest.mark.parametrize(
    ("values", "field"), [({"count": 1001}, "count"), ({"strategy": "oracle"}, "strategy")]
)
async def test_impossible_wish_is_refused(house: House, values: dict[str, Any], field: str) -> None:
    await house.create()
    with pytest.raises(InvalidRequest) as caught:
        await suggest(house, **values)
    assert caught.value.field == field
