"""Heads that run on a tail: predicting, feedback, versions, suggestions."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, func, select

import adapters
from models.tails import tail_fingerprint
from service.errors import FingerprintMismatch, LimitExceeded
from service.handlers.exporting import CARD_BYTES
from service.requests.tensors import to_tensor
from service.store import schema
from tests.service.server import HEAD, InProcessServer, StartServer, best, import_request, texts
from tests.service.tail_heads import (
    MANY,
    TAIL,
    database_of,
    features,
    fitted,
    probabilities,
    stored_vectors,
    tail_head,
    tuned,
)
from tests.service.tiny_backbone import FINGERPRINT, tail_file, vector_of
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

BY_TAIL = tail_fingerprint(TAIL)
NEW = {"red new": "red", "blue new": "blue", "red newer": "red"}
IMMEDIATE = heads_pb2.FEEDBACK_POLICY_IMMEDIATE
UNSEEN = ["red unseen", "blue unseen", "other"]


def expected(labels: dict[str, str], asked: list[str]) -> NDArray[np.float32]:
    """What a head that was fitted to the tail's features of all these says."""
    return fitted(labels).head.probabilities(features(asked))


def spread(found: dict[str, NDArray[np.float32]], asked: list[str]) -> NDArray[np.float32]:
    return np.stack([found[text] for text in asked])


async def test_version_on_a_tail_answers_with_its_features(server: InProcessServer) -> None:
    await tail_head(server)
    found = await probabilities(server, UNSEEN)
    np.testing.assert_allclose(spread(found, UNSEEN), expected(MANY, UNSEEN), atol=1e-6)


async def test_same_input_on_a_tail_and_without_it_are_told_apart_in_one_request(
    server: InProcessServer,
) -> None:
    await tail_head(server)
    plain = "tenants/acme/heads/plain"
    await server.create(plain)
    await server.add(MANY, head=plain)
    await server.train(plain)
    response = await server.predict(*texts("red x", "red x"), heads=[HEAD, plain])
    assert not response.errors
    assert [group.head for group in response.predictions] == [HEAD, plain]
    head = await server.exported(plain)
    alone = head.probabilities(vector_of("red x")[None])
    shown = np.frombuffer(response.predictions[1].probabilities.data, np.float32)
    np.testing.assert_allclose(np.sort(shown), np.sort(alone[0]), atol=1e-6)


async def test_feedback_makes_the_head_that_a_fit_to_all_features_makes(
    server: InProcessServer,
) -> None:
    """The law of plain heads, on the tail's features: exact up to rounding."""
    await tail_head(server, policy=IMMEDIATE)
    await server.feedback(NEW)
    found = await probabilities(server, UNSEEN)
    head = await server.head()
    assert (head.live.feedback_count, head.live.base_version) == (3, 1)
    everything = {**MANY, **NEW}
    anew = adapters.live_head(
        fitted(MANY).head, features(list(everything)), list(everything.values())
    )
    np.testing.assert_allclose(
        spread(found, UNSEEN), anew.head.probabilities(features(UNSEEN)), atol=1e-5
    )


async def test_feedback_that_was_read_for_the_version_before_is_learned_by_the_very_next_copy(
    server: InProcessServer,
) -> None:
    """It is stored without the embedding that the version takes which has taken over meanwhile."""
    await server.create(keep_inputs=True, policy=IMMEDIATE)
    await server.add(MANY)
    await server.train()
    loop, reached = asyncio.get_running_loop(), asyncio.Event()

    def note() -> None:
        loop.call_soon_threadsafe(reached.set)

    server.backbone.on_batch = note
    server.backbone.open.clear()
    late = asyncio.create_task(server.feedback(NEW))
    await reached.wait()
    await tuned(server)
    await server.feedback({"red 0": "blue"})
    assert (await server.head()).live.scored == 1
    server.backbone.open.set()
    assert not (await late).errors
    found = await probabilities(server, UNSEEN)
    live = (await server.head()).live
    assert (live.scored, live.feedback_count, live.base_version) == (4, 4, 2)
    everything = {**MANY, "red 0": "blue", **NEW}
    anew = adapters.live_head(
        fitted(MANY).head, features(list(everything)), list(everything.values())
    )
    np.testing.assert_allclose(
        spread(found, UNSEEN), anew.head.probabilities(features(UNSEEN)), atol=1e-5
    )


async def test_feedback_keeps_both_embeddings(server: InProcessServer) -> None:
    await tail_head(server)
    await server.feedback(NEW)
    assert await stored_vectors(server, list(NEW)) == set(NEW)
    assert await stored_vectors(server, list(NEW), BY_TAIL) == set(NEW)


async def test_feedback_and_predictions_by_digest_fall_back_on_the_kept_input(
    server: InProcessServer,
) -> None:
    await tail_head(server)
    await server.add({"red kept": None})
    digest = common_pb2.Input(digest=text_digest("red kept"))
    by_digest = await server.predict(digest)
    assert not by_digest.errors
    assert best(by_digest) == best(await server.predict(*texts("red kept")))
    request = prediction_pb2.SendFeedbackRequest(
        head=HEAD, feedback=[prediction_pb2.Feedback(input=digest, label="red")]
    )
    reply = await server.ask("SendFeedback", request)
    assert not reply.errors
    assert await stored_vectors(server, ["red kept"], BY_TAIL) == {"red kept"}


async def test_input_that_another_tenant_keeps_is_not_found_by_its_digest(
    server: InProcessServer,
) -> None:
    await tail_head(server)
    theirs = "tenants/bolt/heads/theirs"
    await server.create(theirs, keep_inputs=True)
    await server.add({"red theirs": "red"}, head=theirs)
    response = await server.predict(common_pb2.Input(digest=text_digest("red theirs")))
    assert [error.code for error in response.errors] == ["NOT_FOUND"]


async def test_embedding_as_feedback_is_refused_where_the_tail_needs_the_input(
    server: InProcessServer,
) -> None:
    await tail_head(server)
    vector = common_pb2.Embedding(fingerprint=FINGERPRINT, vector=to_tensor(vector_of("red")))
    row = prediction_pb2.Feedback(input=common_pb2.Input(embedding=vector), label="red")
    request = prediction_pb2.SendFeedbackRequest(head=HEAD, feedback=[row])
    (error,) = (await server.ask("SendFeedback", request)).errors
    assert (error.code, error.field) == ("FAILED_PRECONDITION", "input")


async def test_live_copy_that_takes_over_keeps_the_tail(server: InProcessServer) -> None:
    await tail_head(server)
    await server.add_rows(
        heads_pb2.NewExample(input=common_pb2.Input(text="red test"), label="red", held_out=True)
    )
    await server.feedback(NEW)
    request = heads_pb2.PromoteLiveCopyRequest(head=HEAD)
    version = (await server.ask("PromoteLiveCopy", request)).version
    assert (version.source, version.tail.fingerprint) == ("feedback", BY_TAIL)
    assert version.tail.blocks == ["layer.2"]
    report = await server.report()
    assert report.example_count == len(MANY) + len(NEW)
    assert not report.HasField("decisions")  # its tail has seen the examples
    assert report.test.estimate.accuracy == 1
    head = await server.exported()
    measured = adapters.evaluate(head, features(["red test"]), ["red"]).estimate
    assert report.test.estimate.log_loss == pytest.approx(measured.log_loss, rel=1e-6)
    assert best(await server.predict(*texts("red z"))) == ["red"]


async def test_live_copy_that_takes_over_remembers_the_flips_that_its_tail_was_tuned_on(
    server: InProcessServer,
) -> None:
    await tail_head(server)
    await tuned(server, flips=3)
    assert not (await server.report()).spec.fine_tune.flips
    await server.feedback(NEW)
    request = heads_pb2.PromoteLiveCopyRequest(head=HEAD)
    version = (await server.ask("PromoteLiveCopy", request)).version
    assert (version.spec.fine_tune.views, version.spec.fine_tune.flips) == (3, True)


async def test_live_copy_moves_to_the_features_of_the_version_that_is_activated(
    server: InProcessServer,
) -> None:
    """Feedback under one version is learned under another: its embeddings are made when needed."""
    await tail_head(server, policy=IMMEDIATE)
    shifted = tail_file(2.0)
    await tuned(server, data=shifted, shift=2.0)
    await server.feedback(NEW)  # under the second version
    assert await stored_vectors(server, list(NEW), tail_fingerprint(shifted)) == set(NEW)
    assert not await stored_vectors(server, list(NEW), BY_TAIL)
    name = f"{HEAD}/versions/1"
    await server.ask("ActivateHeadVersion", heads_pb2.ActivateHeadVersionRequest(name=name))
    await server.ask("ReleaseFeedback", heads_pb2.ReleaseFeedbackRequest(head=HEAD, all=True))
    await server.feedback({"red last": "red"})
    head = await server.head()
    assert (head.live.base_version, head.live.feedback_count) == (1, 1)
    assert await stored_vectors(server, ["red last"], BY_TAIL) == {"red last"}
    assert await stored_vectors(server, list(NEW), BY_TAIL) == set(NEW)


async def test_suggestions_see_examples_that_came_after_the_tail(server: InProcessServer) -> None:
    await tail_head(server)
    await server.add({"red open": None, "blue open": None})
    reply = await server.ask("SuggestExamples", heads_pb2.SuggestExamplesRequest(head=HEAD))
    found = {item.example.digest: item.predicted_label for item in reply.suggestions}
    assert found == {text_digest("red open"): "red", text_digest("blue open"): "blue"}


async def test_version_describes_its_tail_and_is_exported_with_it(server: InProcessServer) -> None:
    await tail_head(server)
    exported = await server.ask("ExportHead", heads_pb2.ExportHeadRequest(name=HEAD, onnx=True))
    assert exported.tail == TAIL
    tail = exported.version.tail
    assert (tail.fingerprint, tail.strategy, tail.size_bytes) == (BY_TAIL, "last_block", len(TAIL))
    assert exported.version.fingerprint == server.backbone.fingerprint
    assert adapters.Head.from_safetensors(exported.safetensors).fingerprint == BY_TAIL
    assert BY_TAIL in exported.model_card
    assert "fine-tuned for this head" in exported.model_card
    with pytest.raises(FingerprintMismatch, match="tail cannot be imported"):
        await server.ask("ImportHead", import_request(safetensors=exported.safetensors, labels=[]))
    with pytest.raises(FingerprintMismatch, match="tail cannot be imported"):
        await server.ask("ImportHead", import_request(fingerprint=BY_TAIL))


async def test_export_that_no_message_has_room_for_is_refused_with_its_tail_counted(
    start_server: StartServer,
) -> None:
    request = heads_pb2.ExportHeadRequest(name=HEAD)
    async with start_server() as server:
        await tail_head(server)
        exported = await server.ask("ExportHead", request)
    size = len(exported.safetensors) + len(exported.tail) + CARD_BYTES
    async with start_server(max_message_bytes=size, max_image_bytes=1024) as server:
        assert (await server.ask("ExportHead", request)).tail == TAIL
    async with start_server(max_message_bytes=size - 1, max_image_bytes=1024) as server:
        with pytest.raises(LimitExceeded) as caught:
            await server.ask("ExportHead", request)
        assert (caught.value.field, caught.value.value) == ("max_message_bytes", size)


async def test_tail_of_a_changed_backbone_says_how_to_train_it_again(
    start_server: StartServer,
) -> None:
    async with start_server() as server:
        await tail_head(server)
    activation = heads_pb2.ActivateHeadVersionRequest(name=f"{HEAD}/versions/1")
    async with start_server(fingerprint="0" * 64) as server:
        for ask in (
            server.predict(*texts("red")),
            server.feedback({"red": "red"}),
            server.add({"red": "red"}),
            server.train(),
            server.ask("SuggestExamples", heads_pb2.SuggestExamplesRequest(head=HEAD)),
            server.ask("PromoteLiveCopy", heads_pb2.PromoteLiveCopyRequest(head=HEAD)),
            server.ask("ActivateHeadVersion", activation),
        ):
            with pytest.raises(FingerprintMismatch, match="trunkline heads retrain") as caught:
                await ask
            assert caught.value.value == "f" * 64
        assert (await server.head()).active_version == 1


async def test_deleted_head_leaves_neither_tail_nor_embeddings(server: InProcessServer) -> None:
    await tail_head(server)
    await server.predict(*texts("red z"))
    (tail,) = server.backbone.tails
    await server.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=HEAD))
    for table in (schema.tails, schema.embeddings, schema.versions):
        assert await database_of(server).read(count, table) == 0
    await tail.wait_until_closed()


def count(connection: Connection, table: Table) -> int:
    found: Any = connection.scalar(select(func.count()).select_from(table))
    return int(found)
