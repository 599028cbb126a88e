"""Fine-tuning that cannot be: refused at once, or before work starts."""

from __future__ import annotations

from typing import Any

import pytest

from adapters import InvalidArgument
from service.errors import PreconditionFailed
from service.requests.tensors import to_tensor
from tests.service.server import HEAD, InProcessServer, StartServer
from tests.service.tail_heads import MANY
from tests.service.tiny_backbone import FINGERPRINT, TinyBackbone, vector_of
from trunkline.v1 import common_pb2, heads_pb2


def tune(**values: Any) -> heads_pb2.HeadSpec:
    fine_tune = heads_pb2.FineTune(**{"strategy": "tail", **values})
    return heads_pb2.HeadSpec(family="ridge", fine_tune=fine_tune)


async def refusal(server: InProcessServer, spec: heads_pb2.HeadSpec) -> PreconditionFailed:
    with pytest.raises(PreconditionFailed) as caught:
        await server.train(spec=spec)
    assert not (await server.head()).training
    return caught.value


async def test_head_that_keeps_no_inputs_is_refused(server: InProcessServer) -> None:
    await server.create()
    await server.add(MANY)
    error = await refusal(server, tune())
    assert (error.field, error.limit, error.value) == ("keep_inputs", True, False)


async def test_examples_to_train_on_without_inputs_are_counted(server: InProcessServer) -> None:
    await server.create(keep_inputs=True)
    await server.add(MANY)
    for text in ("red vector", "blue vector", "red test", "red open"):
        vector = common_pb2.Embedding(fingerprint=FINGERPRINT, vector=to_tensor(vector_of(text)))
        label, use = text.split()
        row = heads_pb2.NewExample(
            input=common_pb2.Input(embedding=vector),
            label=None if use == "open" else label,
            held_out=use == "test",
        )
        await server.add_rows(row)
    error = await refusal(server, tune())
    assert (error.field, error.limit, error.value) == ("examples", 0, 2)
    assert "2 are not kept" in error.message


async def test_backbone_without_a_cut_can_only_be_tuned_whole(start_server: StartServer) -> None:
    backbone = TinyBackbone()
    backbone.cut, backbone.tail_blocks = "", ()
    async with start_server(backbone=backbone) as server:
        await server.create(keep_inputs=True)
        await server.add(MANY)
        error = await refusal(server, tune(strategy="gradual"))
        assert (error.field, error.limit) == ("fine_tune.strategy", "full")
        assert error.value == "gradual"


async def test_spec_of_a_call_that_joins_a_training_is_read_all_the_same(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add(MANY)
    async with server.application._jobs._fit_process.acquire():  # keeps the training waiting
        handler = server.application.handlers["TrainHead"]
        request = heads_pb2.TrainHeadRequest(head=HEAD)
        running = handler(request, server.call("TrainHead", request))
        await anext(running)
        with pytest.raises(InvalidArgument, match=r"fine_tune\.strategy"):
            await server.train(spec=tune(strategy="deep"))
        await running.aclose()


async def test_one_class_of_several_examples_is_too_few(server: InProcessServer) -> None:
    await server.create(keep_inputs=True)
    await server.add({"red one": "red", "red two": "red", "green one": "green"})
    spec = tune()
    spec.family = "prototype"
    error = await refusal(server, spec)
    assert (error.field, error.limit, error.value) == ("examples", 2, 1)


async def test_views_of_texts_are_refused(server: InProcessServer) -> None:
    await server.create(keep_inputs=True)
    await server.add(MANY)
    error = await refusal(server, tune(views=2))
    assert (error.field, error.limit, error.value) == ("fine_tune.views", 0, 2)


async def test_head_too_large_for_the_activations_is_refused_before_they_are_computed(
    start_server: StartServer,
) -> None:
    async with start_server(activation_cache_bytes=1000) as server:
        await server.create(keep_inputs=True)
        await server.add(MANY)
        server.backbone.batches.clear()
        training = await server.train(spec=tune())
        assert training.state == heads_pb2.TRAINING_STATE_FAILED
        assert training.error_code == "FAILED_PRECONDITION"
        assert "activation_cache_bytes: at most 1000" in training.error_message
        run = [text for batch in server.backbone.batches for text in batch if text in MANY]
        assert run == ["red 0"]
