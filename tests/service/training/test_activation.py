"""Whether the version that a training made answers."""

from __future__ import annotations

from tests.service.server import LABELS, InProcessServer, StartServer
from trunkline.digest import text_digest
from trunkline.v1 import heads_pb2

ONE_EACH = ["red two", "blue two"]
"""Without these there is one example of each class: too few for an estimate."""


async def estimated_and_thinned(server: InProcessServer) -> None:
    """A head whose active version has an estimate, and whose next one will have none."""
    await server.create()
    await server.add(LABELS)
    assert (await server.train()).activated
    assert (await server.report()).HasField("estimate")
    assert (await server.delete(*map(text_digest, ONE_EACH))).deleted == 2


async def test_version_without_an_estimate_does_not_replace_one_that_has_one(
    server: InProcessServer,
) -> None:
    await estimated_and_thinned(server)
    training = await server.train()
    assert (training.state, training.version) == (heads_pb2.TRAINING_STATE_SUCCEEDED, 2)
    assert not training.activated
    assert "no estimate" in training.inactive_reason
    assert (await server.head()).active_version == 1
    asked = heads_pb2.GetTrainingRequest(name=training.name)
    assert (await server.ask("GetTraining", asked)).training.inactive_reason


async def test_version_without_an_estimate_answers_where_that_is_asked_for(
    server: InProcessServer,
) -> None:
    await estimated_and_thinned(server)
    training = await server.train(activate=True)
    assert (training.activated, training.inactive_reason) == (True, "")
    assert (await server.head()).active_version == 2
    # No estimate is lost now.
    assert (await server.train()).activated


async def test_version_without_an_estimate_is_better_than_none(server: InProcessServer) -> None:
    await server.create()
    await server.add({"red one": "red", "blue one": "blue"})
    assert (await server.train()).activated
    assert (await server.head()).active_version == 1


async def test_head_that_moves_is_answered_for_even_without_an_estimate(
    start_server: StartServer,
) -> None:
    async with start_server() as server:
        await server.create(keep_inputs=True)
        await server.add(LABELS)
        await server.train()
        await server.delete(*map(text_digest, ONE_EACH))
    async with start_server(fingerprint="e" * 64) as server:
        assert (await server.train(backbone="tiny/text")).activated
        assert (await server.head()).active_version == 2


async def test_after_forgetting_a_version_without_an_estimate_answers(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add(LABELS)
    await server.train()
    assert (await server.forget(*map(text_digest, ONE_EACH))).version == 2
    assert (await server.head()).active_version == 2
