"""Heads that move: to other weights of their backbone, from inputs that were kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import InvalidInput, PreparedInput, RawInput
from service.errors import FingerprintMismatch, InvalidRequest, PreconditionFailed
from service.requests.tensors import to_tensor
from service.store import heads as stored_heads
from service.store.embeddings import find_embeddings
from service.store.head_records import HeadRecord
from tests.service.server import HEAD, InProcessServer, StartServer, best, texts
from tests.service.store.records import add_examples, example
from tests.service.tail_heads import MANY, database_of, stored_vectors, tuned
from tests.service.tiny_backbone import FINGERPRINT, TinyBackbone, TinyImageBackbone, vector_of
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2

pytestmark = pytest.mark.costly

NEW = "0" * 64
SPEC = heads_pb2.HeadSpec(family="ridge")
EXTRA = {"red open": None, "blue open": None}


async def prepared(start_server: StartServer, **values: Any) -> None:
    """A trained head with unlabelled and held-out examples, and feedback, on the old weights."""
    async with start_server() as server:
        await server.create(keep_inputs=True, spec=SPEC, **values)
        await server.add({**MANY, **EXTRA})
        test = common_pb2.Input(text="red test")
        held_out = heads_pb2.NewExample(
            input=test, label="red", held_out=True, external_id="tests/red"
        )
        await server.add_rows(held_out)
        await server.train()
        await server.feedback({"blue told": "blue"})


async def record(server: InProcessServer) -> HeadRecord:
    return await database_of(server).read(stored_heads.get_head, "acme", "defects")


async def test_retrained_head_stands_on_the_new_weights_with_all_it_had(
    start_server: StartServer,
) -> None:
    await prepared(start_server)
    async with start_server(fingerprint=NEW) as server:
        with pytest.raises(FingerprintMismatch, match="trunkline heads retrain"):
            await server.predict(*texts("red"))
        training = await server.train(backbone="tiny/text")
        assert training.state == heads_pb2.TRAINING_STATE_SUCCEEDED
        assert best(await server.predict(*texts("red", "blue"))) == ["red", "blue"]
        head = await server.head()
        assert (head.fingerprint, head.active_version) == (NEW, 2)
        everything = [*MANY, *EXTRA, "red test", "blue told"]
        assert await stored_vectors(server, everything, NEW) == set(everything)
        assert await stored_vectors(server, everything) == set()
        report = await server.report()
        assert (report.fingerprint, report.example_count) == (NEW, len(MANY) + 1)
        assert report.test.estimate.accuracy == 1
        listing = heads_pb2.ListExamplesRequest(head=HEAD, external_ids=["tests/red"])
        (named,) = (await server.ask("ListExamples", listing)).examples
        assert named.digest == text_digest("red test")
        await server.feedback({"red more": "red"})
        assert (await server.head()).live.feedback_count == 1


async def test_versions_of_the_old_weights_cannot_be_activated_any_more(
    start_server: StartServer,
) -> None:
    await prepared(start_server)
    async with start_server(fingerprint=NEW) as server:
        await server.train(backbone="tiny/text")
        name = f"{HEAD}/versions/1"
        with pytest.raises(FingerprintMismatch) as caught:
            await server.ask("ActivateHeadVersion", heads_pb2.ActivateHeadVersionRequest(name=name))
        assert (caught.value.limit, caught.value.value) == (NEW, FINGERPRINT)
        with pytest.raises(FingerprintMismatch, match=FINGERPRINT):
            await server.predict(*texts("red"), version=1)


async def test_new_version_equals_that_of_a_head_that_was_always_there(
    start_server: StartServer, tmp_path: Path
) -> None:
    await prepared(start_server)
    heads = []
    async with start_server(fingerprint=NEW) as server:
        await server.train(backbone="tiny/text")
        heads.append(await server.exported())
    async with start_server(fingerprint=NEW, data_dir=tmp_path / "other") as server:
        await server.create(keep_inputs=True, spec=SPEC)
        await server.add({**MANY, "blue told": "blue"})
        await server.train()
        heads.append(await server.exported())
    np.testing.assert_array_equal(heads[0].weight, heads[1].weight)


async def test_move_to_where_the_head_is_already_is_a_training(server: InProcessServer) -> None:
    await server.create()
    await server.add(MANY)
    assert (await server.train(backbone="tiny/text")).version == 1
    assert (await server.train(backbone="tiny/text", activate=False)).version == 2


async def test_head_whose_inputs_are_not_kept_is_refused_with_counts(
    start_server: StartServer,
) -> None:
    async with start_server() as server:
        await server.create(keep_inputs=True)
        await server.add(MANY)
        vector = common_pb2.Embedding(
            fingerprint=FINGERPRINT, vector=to_tensor(vector_of("red vector"))
        )
        row = heads_pb2.NewExample(input=common_pb2.Input(embedding=vector), label="red")
        await server.add_rows(row)
        await server.train()
    async with start_server(fingerprint=NEW) as server:
        with pytest.raises(PreconditionFailed, match="1 of the 17 examples") as caught:
            await server.train(backbone="tiny/text")
        assert (caught.value.field, caught.value.value) == ("backbone", 1)
        assert (await record(server)).fingerprint == FINGERPRINT
        assert await stored_vectors(server, list(MANY), NEW) == set()


async def test_backbone_of_another_modality_is_refused(start_server: StartServer) -> None:
    await prepared(start_server)
    images = TinyImageBackbone()
    async with start_server(backbone=images, fingerprint=NEW) as server:
        with pytest.raises(PreconditionFailed, match="takes image inputs"):
            await server.train(backbone="tiny/image")
        with pytest.raises(PreconditionFailed, match="is not loaded"):
            await server.train(backbone="tiny/text")


async def test_move_without_activation_is_refused(start_server: StartServer) -> None:
    await prepared(start_server)
    async with start_server(fingerprint=NEW) as server:
        with pytest.raises(InvalidRequest) as caught:
            await server.train(backbone="tiny/text", activate=False)
        assert caught.value.field == "activate"


class Picky(TinyBackbone):
    """Cannot embed one of the texts that it could with other weights."""

    def preprocess(self, raw: RawInput) -> PreparedInput:
        if raw == "red open":
            raise InvalidInput("cannot be read any more", field="text")
        return super().preprocess(raw)


async def test_move_that_fails_changes_nothing(start_server: StartServer) -> None:
    await prepared(start_server)
    async with start_server(fingerprint=NEW, backbone=Picky()) as server:
        training = await server.train(backbone="tiny/text")
        assert training.state == heads_pb2.TRAINING_STATE_FAILED
        assert "cannot embed 1 of the kept inputs" in training.error_message
        stored = await record(server)
        assert (stored.fingerprint, stored.active_version) == (FINGERPRINT, 1)


async def test_cancelled_move_changes_nothing_and_what_it_left_can_be_forgotten(
    start_server: StartServer,
) -> None:
    await prepared(start_server)
    async with start_server(fingerprint=NEW) as server:
        begun = hold(server)
        training = asyncio.create_task(server.train(backbone="tiny/text"))
        await begun.wait()
        request = heads_pb2.CancelTrainingRequest(name=(await server.head()).training)
        cancelled = await server.ask("CancelTraining", request)
        server.backbone.open.set()
        assert cancelled.training.state == heads_pb2.TRAINING_STATE_CANCELLED
        await training
        stored = await record(server)
        assert (stored.fingerprint, stored.active_version) == (FINGERPRINT, 1)
        digest = text_digest("red 1")
        await server.forget(digest)
        for fingerprint in (FINGERPRINT, NEW):
            found = await database_of(server).read(
                find_embeddings, "acme", fingerprint, [digest, text_digest("red 2")]
            )
            assert digest not in found
        assert (await server.train(backbone="tiny/text")).version == 3
        left = [text for text in MANY if text != "red 1"]
        assert await stored_vectors(server, left, NEW) == set(left)


async def test_examples_that_come_during_the_move_come_along(start_server: StartServer) -> None:
    await prepared(start_server)
    async with start_server(fingerprint=NEW) as server:
        begun = hold(server)
        training = asyncio.create_task(server.train(backbone="tiny/text"))
        await begun.wait()
        message = common_pb2.Input(text="red late")
        late = replace(example("red late", "red"), input=message.SerializeToString())
        await database_of(server).write(add_examples, (await record(server)).uid, late)
        server.backbone.open.set()
        assert (await training).state == heads_pb2.TRAINING_STATE_SUCCEEDED
        assert await stored_vectors(server, ["red late"], NEW) == {"red late"}


def hold(server: InProcessServer) -> asyncio.Event:
    """Holds the backbone's batches back; the event is set when one is there."""
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    def note() -> None:
        loop.call_soon_threadsafe(begun.set)

    server.backbone.on_batch = note
    server.backbone.open.clear()
    return begun


async def test_moved_head_leaves_its_tail_behind(start_server: StartServer) -> None:
    async with start_server() as server:
        await server.create(keep_inputs=True, spec=SPEC)
        await server.add(MANY)
        await tuned(server)
    async with start_server(fingerprint=NEW) as server:
        await server.train(backbone="tiny/text")
        assert best(await server.predict(*texts("red"))) == ["red"]
        listed = await server.ask("ListHeadVersions", heads_pb2.ListHeadVersionsRequest(head=HEAD))
        newest, oldest = listed.versions
        assert (newest.fingerprint, newest.HasField("tail")) == (NEW, False)
        assert (oldest.fingerprint, oldest.HasField("tail")) == (FINGERPRINT, True)
