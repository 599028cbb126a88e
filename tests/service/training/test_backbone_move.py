"""Heads that move: to other weights of their backbone, from inputs that were kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adapters
from models import InvalidInput, PreparedInput, RawInput
from service.errors import FingerprintMismatch, InvalidRequest, PreconditionFailed
from service.requests.tensors import to_tensor
from service.store import heads as stored_heads
from service.store.embeddings import find_embeddings
from service.store.head_records import HeadRecord
from tests.service.doubles import FINGERPRINT, TinyBackbone, TinyImageBackbone, vector_of
from tests.service.house import HEAD, House, Open, best, texts
from tests.service.stored import add_examples, example
from tests.service.tail_house import MANY, database_of, stored_vectors, tuned
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2

NEW = "0" * 64
SPEC = heads_pb2.HeadSpec(family="ridge")
EXTRA = {"red open": None, "blue open": None}


async def prepared(open_house: Open, **values: Any) -> None:
    """A trained head with unlabelled and held-out examples, and feedback, on the old weights."""
    async with open_house() as house:
        await house.create(keep_inputs=True, spec=SPEC, **values)
        await house.add({**MANY, **EXTRA})
        test = common_pb2.Input(text="red test")
        await house.add_rows(heads_pb2.NewExample(input=test, label="red", held_out=True))
        await house.train()
        await house.feedback({"blue told": "blue"})


async def record(house: House) -> HeadRecord:
    return await database_of(house).read(stored_heads.get_head, "acme", "defects")


async def test_retrained_head_stands_on_the_new_weights_with_all_it_had(open_house: Open) -> None:
    await prepared(open_house)
    async with open_house(fingerprint=NEW) as house:
        with pytest.raises(FingerprintMismatch, match="trunkline heads retrain"):
            await house.predict(*texts("red"))
        training = await house.train(backbone="tiny/text")
        assert training.state == heads_pb2.TRAINING_STATE_SUCCEEDED
        assert best(await house.predict(*texts("red", "blue"))) == ["red", "blue"]
        head = await house.head()
        assert (head.fingerprint, head.active_version) == (NEW, 2)
        everything = [*MANY, *EXTRA, "red test", "blue told"]
        assert await stored_vectors(house, everything, NEW) == set(everything)
        assert await stored_vectors(house, everything) == set()
        report = await house.report()
        assert (report.fingerprint, report.example_count) == (NEW, len(MANY) + 1)
        assert report.test.estimate.accuracy == 1
        await house.feedback({"red more": "red"})
        assert (await house.head()).live.feedback_count == 1


async def test_versions_of_the_old_weights_cannot_be_activated_any_more(open_house: Open) -> None:
    await prepared(open_house)
    async with open_house(fingerprint=NEW) as house:
        await house.train(backbone="tiny/text")
        name = f"{HEAD}/versions/1"
        with pytest.raises(FingerprintMismatch) as caught:
            await house.ask("ActivateHeadVersion", heads_pb2.ActivateHeadVersionRequest(name=name))
        assert (caught.value.limit, caught.value.value) == (NEW, FINGERPRINT)
        with pytest.raises(FingerprintMismatch, match=FINGERPRINT):
            await house.predict(*texts("red"), version=1)


async def test_new_version_equals_that_of_a_head_that_was_always_there(
    open_house: Open, tmp_path: Path
) -> None:
    await prepared(open_house)
    heads = []
    async with open_house(fingerprint=NEW) as house:
        await house.train(backbone="tiny/text")
        heads.append(await exported(house))
    async with open_house(fingerprint=NEW, data_dir=tmp_path / "other") as house:
        await house.create(keep_inputs=True, spec=SPEC)
        await house.add({**MANY, "blue told": "blue"})
        await house.train()
        heads.append(await exported(house))
    np.testing.assert_array_equal(heads[0].weight, heads[1].weight)


async def exported(house: House) -> adapters.Head:
    reply = await house.ask("ExportHead", heads_pb2.ExportHeadRequest(name=HEAD))
    return adapters.Head.from_safetensors(reply.safetensors)


async def test_move_to_where_the_head_is_already_is_a_training(house: House) -> None:
    await house.create()
    await house.add(MANY)
    assert (await house.train(backbone="tiny/text")).version == 1
    assert (await house.train(backbone="tiny/text", activate=False)).version == 2


async def test_head_whose_inputs_are_not_kept_is_refused_with_counts(open_house: Open) -> None:
    async with open_house() as house:
        await house.create(keep_inputs=True)
        await house.add(MANY)
        vector = common_pb2.Embedding(
            fingerprint=FINGERPRINT, vector=to_tensor(vector_of("red vector"))
        )
        row = heads_pb2.NewExample(input=common_pb2.Input(embedding=vector), label="red")
        await house.add_rows(row)
        await house.train()
    async with open_house(fingerprint=NEW) as house:
        with pytest.raises(PreconditionFailed, match="1 of the 17 examples") as caught:
            await house.train(backbone="tiny/text")
        assert (caught.value.field, caught.value.value) == ("backbone", 1)
        assert (await record(house)).fingerprint == FINGERPRINT
        assert await stored_vectors(house, list(MANY), NEW) == set()


async def test_backbone_of_another_modality_is_refused(open_house: Open) -> None:
    await prepared(open_house)
    images = TinyImageBackbone()
    async with open_house(backbone=images, fingerprint=NEW) as house:
        with pytest.raises(PreconditionFailed, match="takes image inputs"):
            await house.train(backbone="tiny/image")
        with pytest.raises(PreconditionFailed, match="is not loaded"):
            await house.train(backbone="tiny/text")


async def test_move_without_activation_is_refused(open_house: Open) -> None:
    await prepared(open_house)
    async with open_house(fingerprint=NEW) as house:
        with pytest.raises(InvalidRequest) as caught:
            await house.train(backbone="tiny/text", activate=False)
        assert caught.value.field == "activate"


class Picky(TinyBackbone):
    """Cannot embed one of the texts that it could with other weights."""

    def preprocess(self, raw: RawInput) -> PreparedInput:
        if raw == "red open":
            raise InvalidInput("cannot be read any more", field="text")
        return super().preprocess(raw)


async def test_move_that_fails_changes_nothing(open_house: Open) -> None:
    await prepared(open_house)
    async with open_house(fingerprint=NEW, backbone=Picky()) as house:
        training = await house.train(backbone="tiny/text")
        assert training.state == heads_pb2.TRAINING_STATE_FAILED
        assert "cannot embed 1 of the kept inputs" in training.error_message
        stored = await record(house)
        assert (stored.fingerprint, stored.active_version) == (FINGERPRINT, 1)


async def test_cancelled_move_changes_nothing_and_what_it_left_can_be_forgotten(
    open_house: Open,
) -> None:
    await prepared(open_house)
    async with open_house(fingerprint=NEW) as house:
        begun = hold(house)
        training = asyncio.create_task(house.train(backbone="tiny/text"))
        await begun.wait()
        request = heads_pb2.CancelTrainingRequest(name=(await house.head()).training)
        cancelled = await house.ask("CancelTraining", request)
        house.backbone.open.set()
        assert cancelled.training.state == heads_pb2.TRAINING_STATE_CANCELLED
        await training
        stored = await record(house)
        assert (stored.fingerprint, stored.active_version) == (FINGERPRINT, 1)
        digest = text_digest("red 1")
        forgetting = heads_pb2.ForgetExamplesRequest(head=HEAD, digests=[digest])
        await house.ask("ForgetExamples", forgetting)
        for fingerprint in (FINGERPRINT, NEW):
            found = await database_of(house).read(
                find_embeddings, "acme", fingerprint, [digest, text_digest("red 2")]
            )
            assert digest not in found
        assert (await house.train(backbone="tiny/text")).version == 3
        left = [text for text in MANY if text != "red 1"]
        assert await stored_vectors(house, left, NEW) == set(left)


async def test_examples_that_come_during_the_move_come_along(open_house: Open) -> None:
    await prepared(open_house)
    async with open_house(fingerprint=NEW) as house:
        begun = hold(house)
        training = asyncio.create_task(house.train(backbone="tiny/text"))
        await begun.wait()
        message = common_pb2.Input(text="red late")
        late = replace(example("red late", "red"), input=message.SerializeToString())
        await database_of(house).write(add_examples, (await record(house)).uid, late)
        house.backbone.open.set()
        assert (await training).state == heads_pb2.TRAINING_STATE_SUCCEEDED
        assert await stored_vectors(house, ["red late"], NEW) == {"red late"}


def hold(house: House) -> asyncio.Event:
    """Holds the backbone's batches back; the event is set when one is there."""
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    def note() -> None:
        loop.call_soon_threadsafe(begun.set)

    house.backbone.on_batch = note
    house.backbone.open.clear()
    return begun


async def test_moved_head_leaves_its_tail_behind(open_house: Open) -> None:
    async with open_house() as house:
        await house.create(keep_inputs=True, spec=SPEC)
        await house.add(MANY)
        await tuned(house)
    async with open_house(fingerprint=NEW) as house:
        await house.train(backbone="tiny/text")
        assert best(await house.predict(*texts("red"))) == ["red"]
        listed = await house.ask("ListHeadVersions", heads_pb2.ListHeadVersionsRequest(head=HEAD))
        newest, oldest = listed.versions
        assert (newest.fingerprint, newest.HasField("tail")) == (NEW, False)
        assert (oldest.fingerprint, oldest.HasField("tail")) == (FINGERPRINT, True)
