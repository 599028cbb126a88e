"""Forgetting what a tail has learned from: the tail, what it made, and what it was tuned on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from models.tails import tail_fingerprint
from service.store import heads as stored_heads
from service.store.view_digests import view_digest
from service.tuning.activation_files import ActivationFiles, Key
from tests.service.server import HEAD, InProcessServer, StartServer, best, texts
from tests.service.tail_heads import MANY, TAIL, database_of, features, tuned
from tests.service.tiny_backbone import FINGERPRINT, vector_of
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2

SECRET = "red secret that nobody may keep"
DIGEST = text_digest(SECRET)
ACTIVATION = np.frombuffer(b"an activation of the secret.", np.float16)


async def keep_activations(server: InProcessServer, data: Path, digests: Collection[str]) -> Key:
    """Puts activations where a tuning would have left them."""
    head = await database_of(server).read(stored_heads.get_head, "acme", "defects")
    key = Key(FINGERPRINT, head.uid)
    names = [name for digest in digests for name in (digest, view_digest(digest, 0))]
    files = ActivationFiles(data / "activations", 10**6)
    files.add(key, dict.fromkeys(names, ACTIVATION))
    return key


def on_disk(data: Path, needles: dict[str, bytes]) -> set[str]:
    files = [path for path in data.rglob("*") if path.is_file()]
    content = b"\n".join(path.read_bytes() for path in files)
    return {name for name, needle in needles.items() if needle in content}


NEEDLES = {
    "input": SECRET.encode(),
    "digest": DIGEST.encode(),
    "raw digest": bytes.fromhex(DIGEST),
    "embedding": vector_of(SECRET).astype("<f4").tobytes(),
    "features": features([SECRET]).astype("<f4").tobytes(),
    "features of another": features(["red 1"]).astype("<f4").tobytes(),
    "view's name": view_digest(DIGEST, 0).encode(),
    "activation": ACTIVATION.tobytes(),
    "tail": TAIL,
}


@pytest.mark.sqlite_file
async def test_nothing_of_an_example_that_a_tail_learned_from_is_left(
    start_server: StartServer, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with start_server(data_dir=data) as server:
        await server.create(keep_inputs=True)
        await server.add({**MANY, SECRET: "red"})
        await server.train()
        await tuned(server, {**MANY, SECRET: "red"})
        await keep_activations(server, data, [DIGEST])
        assert on_disk(data, NEEDLES) == set(NEEDLES), "the search must find them"
        response = await server.forget(DIGEST)
        assert list(response.deleted_versions) == [1, 2]
        assert on_disk(data, NEEDLES) == set()
        assert best(await server.predict(*texts("red z"))) == ["red"]
        listed = await server.ask("ListHeadVersions", heads_pb2.ListHeadVersionsRequest(head=HEAD))
        (version,) = listed.versions
        assert not version.HasField("tail")
        assert version.active
    assert on_disk(data, NEEDLES) == set()


async def test_tail_and_what_it_made_of_a_forgotten_example_leave_the_memory(
    server: InProcessServer,
) -> None:
    await server.create(keep_inputs=True)
    await server.add({**MANY, SECRET: "red"})
    await tuned(server, {**MANY, SECRET: "red"})
    await server.predict(*texts(SECRET))
    (tail,) = server.backbone.tails
    await server.forget(DIGEST)
    gone = await server.predict(common_pb2.Input(digest=DIGEST))
    assert [error.code for error in gone.errors] == ["NOT_FOUND"]
    await tail.wait_until_closed()


async def test_tail_that_did_not_learn_from_it_stays(server: InProcessServer) -> None:
    await server.create(keep_inputs=True)
    await server.add({**MANY, SECRET: "red"})
    await tuned(server)
    response = await server.forget(DIGEST)
    assert list(response.deleted_versions) == []
    listed = await server.ask("ListHeadVersions", heads_pb2.ListHeadVersionsRequest(head=HEAD))
    assert listed.versions[0].tail.fingerprint == tail_fingerprint(TAIL)
    assert best(await server.predict(*texts("red z"))) == ["red"]


async def test_tail_that_another_head_of_the_tenant_has_as_well_stays_with_that(
    server: InProcessServer,
) -> None:
    other = "tenants/acme/heads/other"
    for head in (HEAD, other):
        await server.create(head, keep_inputs=True)
        await server.add(MANY, head=head)
        await tuned(server, head=head)
    await server.forget(text_digest("red 1"))
    response = await server.predict(*texts("red 1", "blue 1"), head=other)
    assert best(response) == ["red", "blue"]
    digest = common_pb2.Input(digest=text_digest("red 1"))
    assert best(await server.predict(digest, head=other)) == ["red"]


async def test_deleted_example_takes_its_activations_along(
    start_server: StartServer, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with start_server(data_dir=data) as server:
        await server.create(keep_inputs=True)
        await server.add({**MANY, SECRET: "red"})
        key = await keep_activations(server, data, [DIGEST, text_digest("red 1")])
        await server.delete(DIGEST)
        left = ActivationFiles(data / "activations", 10**6).known(key)
        assert left == {text_digest("red 1"), view_digest(text_digest("red 1"), 0)}
        await server.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=HEAD))
        assert ActivationFiles(data / "activations", 10**6).known(key) == set()


async def test_fine_tuning_that_is_asked_for_meanwhile_waits_until_it_is_forgotten(
    server: InProcessServer,
) -> None:
    await server.create(keep_inputs=True)
    await server.add(MANY)
    record = await database_of(server).read(stored_heads.get_head, "acme", "defects")
    tune = heads_pb2.FineTune(strategy="last_block")
    request = heads_pb2.TrainHeadRequest(head=HEAD, spec=heads_pb2.HeadSpec(fine_tune=tune))
    trainings = server.application.handlers["TrainHead"](request, server.call("TrainHead", request))
    async with server.application._jobs.paused(record.uid):
        name = (await anext(trainings)).training.name
        for _ in range(20):  # time enough to begin
            reply = await server.ask("GetTraining", heads_pb2.GetTrainingRequest(name=name))
            assert reply.training.state == heads_pb2.TRAINING_STATE_QUEUED
    async for reply in trainings:
        if reply.training.state == heads_pb2.TRAINING_STATE_RUNNING:
            break
    assert reply.training.state == heads_pb2.TRAINING_STATE_RUNNING
    await server.ask("CancelTraining", heads_pb2.CancelTrainingRequest(name=name))


async def test_activations_that_a_crash_left_are_gone_after_the_next_start(
    start_server: StartServer, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with start_server(data_dir=data) as server:
        await server.create(keep_inputs=True)
        await server.add(MANY)
        left = await keep_activations(server, data, [DIGEST, text_digest("red 1")])
        lost = Key(FINGERPRINT, "a-head-that-was-deleted")
        ActivationFiles(data / "activations", 10**6).add(lost, {DIGEST: ACTIVATION})
    async with start_server(data_dir=data):
        files = ActivationFiles(data / "activations", 10**6)
        assert files.known(left) == {text_digest("red 1"), view_digest(text_digest("red 1"), 0)}
        assert files.known(lost) == set()


@pytest.mark.parametrize("count", [1, 3])
async def test_forgetting_at_the_same_time_is_one_after_the_other(
    server: InProcessServer, count: int
) -> None:
    await server.create(keep_inputs=True)
    await server.add({**MANY, SECRET: "red"})
    await tuned(server, {**MANY, SECRET: "red"})
    replies = await asyncio.gather(*(server.forget(DIGEST) for _ in range(count)))
    assert sorted(reply.forgotten for reply in replies) == [0] * (count - 1) + [1]
