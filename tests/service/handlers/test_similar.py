"""Examples that are like an input: those of a plain product over all that are stored, as of now."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import pytest

from service.access.caller import Caller, Role
from service.errors import InvalidRequest, NotFound, PermissionDenied
from tests.service.server import HEAD, LABELS, InProcessServer, StartServer, texts
from tests.service.tiny_backbone import vector_of
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2


async def similar(
    server: InProcessServer, text: str, count: int = 0, *, unlabelled: bool = False
) -> heads_pb2.FindSimilarResponse:
    request = heads_pb2.FindSimilarRequest(
        head=HEAD, input=common_pb2.Input(text=text), count=count, unlabelled=unlabelled
    )
    reply: heads_pb2.FindSimilarResponse = await server.ask("FindSimilar", request)
    return reply


def expected(
    known: Mapping[str, str | None], text: str, count: int, *, unlabelled: bool
) -> dict[str, float]:
    """The nearest of these texts by digest, from all cosines."""
    cosines: dict[str, float] = {}
    query = vector_of(text).astype(np.float64)
    for other, label in known.items():
        if other != text and (unlabelled or label is not None):
            vector = vector_of(other).astype(np.float64)
            lengths = np.linalg.norm(vector) * np.linalg.norm(query)
            cosines[text_digest(other)] = float(vector @ query / lengths)
    nearest = sorted(cosines, key=lambda digest: -cosines[digest])[:count]
    return {digest: cosines[digest] for digest in nearest}


async def check(server: InProcessServer, known: Mapping[str, str | None], text: str) -> None:
    for unlabelled in (False, True):
        everything = expected(known, text, 100, unlabelled=unlabelled)
        reply = await similar(server, text, 5, unlabelled=unlabelled)
        found = [one.similarity for one in reply.similar]
        assert found == pytest.approx(list(everything.values())[:5], abs=1e-6)
        reply = await similar(server, text, 100, unlabelled=unlabelled)
        assert {one.example.digest: one.similarity for one in reply.similar} == pytest.approx(
            everything, abs=1e-6
        )
        assert reply.digest == text_digest(text)
        assert not reply.not_compared


@pytest.mark.parametrize("room", [0, 2**20])
async def test_what_is_found_is_what_is_stored_after_every_change(
    start_server: StartServer, room: int
) -> None:
    rng = random.Random(8)
    known: dict[str, str | None] = {}
    async with start_server(neighbour_cache_bytes=room) as server:
        await server.create(allow_new_labels=True)
        for _ in range(40):
            text = f"{rng.choice('abc')}{rng.randrange(12)}"
            match rng.choice(["add", "add", "add", "delete", "forget", "relabel", "feedback"]):
                case "add":
                    label = rng.choice(["x", "y", None])
                    await server.add({text: label})
                    known[text] = label or known.get(text)
                case "delete" if text in known:
                    await server.delete(text_digest(text))
                    del known[text]
                case "forget" if text in known:
                    await server.forget(text_digest(text))
                    del known[text]
                case "relabel" if text in known:
                    label = rng.choice(["x", None])
                    update = heads_pb2.ExampleUpdate(digest=text_digest(text), label=label)
                    await server.ask(
                        "UpdateExamples",
                        heads_pb2.UpdateExamplesRequest(head=HEAD, updates=[update]),
                    )
                    known[text] = label
                case "feedback":
                    reply = await server.feedback({text: "x"})
                    if not reply.errors:
                        known[text] = "x"
            await check(server, known, f"{rng.choice('abc')}{rng.randrange(12)}")
        used = server.application.metrics.neighbour_bytes._value.get()
        assert (used > 0) == (room > 0)


async def test_an_example_is_named_by_its_digest(server: InProcessServer) -> None:
    await server.create(keep_inputs=True)
    await server.add(LABELS)
    request = heads_pb2.FindSimilarRequest(
        head=HEAD,
        input=common_pb2.Input(digest=text_digest("red one")),
        count=1,
        with_inputs=True,
    )
    (one,) = (await server.ask("FindSimilar", request)).similar
    assert one.example.digest == text_digest(one.example.input.text) != text_digest("red one")
    assert one.example.label == LABELS[one.example.input.text]
    request.input.digest = "0" * 64
    with pytest.raises(NotFound):
        await server.ask("FindSimilar", request)
    with pytest.raises(InvalidRequest, match="count: at most 100, is 101"):
        await similar(server, "red", 101)


async def test_a_head_without_examples_has_none_that_are_alike(server: InProcessServer) -> None:
    await server.create()
    assert not (await similar(server, "red one")).similar


async def test_a_label_that_is_deleted_is_no_longer_a_reason(server: InProcessServer) -> None:
    await server.create()
    await server.add({**LABELS, "green one": "green", "green two": "green"})
    assert len((await similar(server, "green x")).similar) == 6
    request = heads_pb2.DeleteLabelRequest(
        head=HEAD, label="green", examples=heads_pb2.EXAMPLES_OF_LABEL_KEEP
    )
    await server.ask("DeleteLabel", request)
    assert len((await similar(server, "green x")).similar) == 4
    assert len((await similar(server, "green x", unlabelled=True)).similar) == 6


async def test_predictions_come_with_the_nearest_examples(server: InProcessServer) -> None:
    await server.create()
    named = heads_pb2.NewExample(
        input=common_pb2.Input(text="red one"), label="red", external_id="a/1"
    )
    await server.add(LABELS)
    await server.add_rows(named)
    await server.train()
    (group,) = (await server.predict(*texts("red one", "blue x"), neighbours=3)).predictions
    assert [len(row.neighbours) for row in group.neighbours] == [3, 3]
    own = group.neighbours[0].neighbours[0]
    assert (own.digest, own.label, own.external_id) == (text_digest("red one"), "red", "a/1")
    assert own.similarity == pytest.approx(1)
    wanted = expected(LABELS, "blue x", 3, unlabelled=False)
    found = [one.similarity for one in group.neighbours[1].neighbours]
    assert found == pytest.approx(list(wanted.values()), abs=1e-6)
    labels = {text_digest(text): label for text, label in LABELS.items()}
    for one in group.neighbours[1].neighbours:
        assert one.label == labels[one.digest]
        assert one.HasField("external_id") == (one.digest == text_digest("red one"))
    (plain,) = (await server.predict(*texts("red one"))).predictions
    assert not plain.neighbours
    with pytest.raises(InvalidRequest, match="neighbours: at most 20 for each row, is 21"):
        await server.predict(*texts("red one"), neighbours=21)


async def test_a_key_for_predictions_sees_no_examples(server: InProcessServer) -> None:
    await server.create()
    await server.add(LABELS)
    await server.train()
    request = prediction_pb2.PredictRequest(head=HEAD, inputs=texts("red one"), neighbours=1)
    handler = server.application.handlers["Predict"]
    for roles, refused in (({Role.PREDICT}, True), ({Role.PREDICT, Role.LABEL}, False)):
        call = server.call("Predict", request)
        call.caller = Caller(frozenset(roles), tenant="acme")
        if refused:
            with pytest.raises(PermissionDenied, match="label or train"):
                await handler(request, call)
        else:
            assert (await handler(request, call)).predictions[0].neighbours
