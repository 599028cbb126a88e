"""Sets of classes and novelty in the replies of predictions."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import InvalidRequest, PreconditionFailed
from service.requests.tensors import from_tensor
from tests.service.learning_head import (
    IMMEDIATE,
    LearningHead,
    OpenLearningHead,
    around,
    strangers,
    vector_input,
)
from tests.service.server import HEAD, InProcessServer, import_request
from trunkline.v1 import heads_pb2, prediction_pb2


async def predict_with(head: LearningHead, **values: Any) -> prediction_pb2.PredictResponse:
    rows = map(vector_input, around("red", 3, seed=8))
    return await head.server.predict(*rows, **values)


async def test_sets_of_classes_come_at_the_level_that_is_asked_for(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head() as head:
        (plain,) = (await predict_with(head)).predictions
        assert not plain.HasField("set_sizes")
        sizes = []
        for level in (0.01, 0.9, 0.999):
            (group,) = (await predict_with(head, conformal_level=level)).predictions
            row_sizes = from_tensor(group.set_sizes, field="s", dtypes=("uint32",))
            indices = from_tensor(group.set_indices, field="i", dtypes=("uint32",))
            assert row_sizes.sum() == len(indices)
            sizes.append(int(row_sizes.sum()))
        assert sizes == sorted(sizes)
        assert sizes[-1] == 6


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, float("nan")])
async def test_level_that_is_no_probability_is_refused(
    open_learning_head: OpenLearningHead, level: float
) -> None:
    async with open_learning_head() as head:
        with pytest.raises(InvalidRequest) as caught:
            await predict_with(head, conformal_level=level)
        assert caught.value.field == "conformal_level"
        assert caught.value.limit == "above 0, below 1"


async def test_sets_of_a_head_without_held_out_scores_are_refused(server: InProcessServer) -> None:
    await server.ask("ImportHead", import_request())
    head = LearningHead(server)
    with pytest.raises(PreconditionFailed) as caught:
        await predict_with(head, conformal_level=0.9)
    assert caught.value.field == "conformal_level"
    reply = await predict_with(head, conformal_level=0.9, heads=[HEAD, "", HEAD])
    assert [error.code for error in reply.errors] == ["FAILED_PRECONDITION"] * 3


async def test_novel_rows_are_marked_and_the_reply_says_whether_the_head_abstains(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        (plain,) = (await predict_with(head)).predictions
        assert (plain.HasField("novelty"), list(plain.novel)) == (False, [])
        await head.update(
            spec=heads_pb2.HeadSpec(
                family="ridge", novelty=heads_pb2.Novelty(false_alarm_rate=0.2, abstain=True)
            )
        )
        await head.server.train()
        vectors = [around("red", 1, seed=8, spread=0.1)[0], -strangers(1)[0]]
        group = await head.predict(vectors)
        novelty = from_tensor(group.novelty, field="n", dtypes=("float32",))
        assert group.abstains
        assert list(group.novel) == [bool(value > 1) for value in novelty] == [False, True]
        await head.send(strangers(2), "red")
        assert list((await head.predict(vectors)).novel) == [False, True]
