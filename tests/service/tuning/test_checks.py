"""Fine-tuning that cannot be: refused at once, or before work starts."""

from __future__ import annotations

from typing import Any

import pytest

from adapters import InvalidArgument
from service.errors import PreconditionFailed
from service.requests.tensors import to_tensor
from tests.service.doubles import FINGERPRINT, TinyBackbone, vector_of
from tests.service.house import HEAD, House, Open
from tests.service.tail_house import MANY
from trunkline.v1 import common_pb2, heads_pb2


def tune(**values: Any) -> heads_pb2.HeadSpec:
    fine_tune = heads_pb2.FineTune(**{"strategy": "tail", **values})
    return heads_pb2.HeadSpec(family="ridge", fine_tune=fine_tune)


async def refusal(house: House, spec: heads_pb2.HeadSpec) -> PreconditionFailed:
    with pytest.raises(PreconditionFailed) as caught:
        await house.train(spec=spec)
    assert not (await house.head()).training
    return caught.value


async def test_head_that_keeps_no_inputs_is_refused(house: House) -> None:
    await house.create()
    await house.add(MANY)
    error = await refusal(house, tune())
    assert (error.field, error.limit, error.value) == ("keep_inputs", True, False)


async def test_examples_without_inputs_are_counted(house: House) -> None:
    await house.create(keep_inputs=True)
    await house.add(MANY)
    for text in ("red vector", "blue vector"):
        vector = common_pb2.Embedding(fingerprint=FINGERPRINT, vector=to_tensor(vector_of(text)))
        row = heads_pb2.NewExample(input=common_pb2.Input(embedding=vector), label=text.split()[0])
        await house.add_rows(row)
    error = await refusal(house, tune())
    assert (error.field, error.limit, error.value) == ("examples", 0, 2)
    assert "2 are not kept" in error.message


async def test_backbone_without_a_cut_can_only_be_tuned_whole(open_house: Open) -> None:
    backbone = TinyBackbone()
    backbone.cut, backbone.tail_blocks = "", ()
    async with open_house(backbone=backbone) as house:
        await house.create(keep_inputs=True)
        await house.add(MANY)
        error = await refusal(house, tune(strategy="gradual"))
        assert (error.field, error.limit) == ("fine_tune.strategy", "full")
        assert error.value == "gradual"


async def test_spec_of_a_call_that_joins_a_training_is_read_all_the_same(house: House) -> None:
    await house.create()
    await house.add(MANY)
    async with house.application._jobs._fitter.turn():  # keeps the training waiting
        handler = house.application.handlers["TrainHead"]
        request = heads_pb2.TrainHeadRequest(head=HEAD)
        running = handler(request, house.call("TrainHead", request))
        await anext(running)
        with pytest.raises(InvalidArgument, match=r"fine_tune\.strategy"):
            await house.train(spec=tune(strategy="deep"))
        await running.aclose()


async def test_class_of_one_example_is_refused(house: House) -> None:
    await house.create(keep_inputs=True)
    await house.add({**MANY, "green one": "green"})
    spec = tune()
    spec.family = "prototype"
    error = await refusal(house, spec)
    assert (error.field, error.limit, error.value) == ("examples", 2, 1)


async def test_views_of_texts_are_refused(house: House) -> None:
    await house.create(keep_inputs=True)
    await house.add(MANY)
    error = await refusal(house, tune(views=2))
    assert (error.field, error.limit, error.value) == ("fine_tune.views", 0, 2)


async def test_head_too_large_for_the_activations_is_refused_before_they_are_computed(
    open_house: Open,
) -> None:
    async with open_house(activation_cache_bytes=1000) as house:
        await house.create(keep_inputs=True)
        await house.add(MANY)
        house.backbone.batches.clear()
        training = await house.train(spec=tune())
        assert training.state == heads_pb2.TRAINING_STATE_FAILED
        assert training.error_code == "FAILED_PRECONDITION"
        assert "activation_cache_bytes: at most 1000" in training.error_message
        run = [text for batch in house.backbone.batches for text in batch if text in MANY]
        assert run == ["red 0"]
