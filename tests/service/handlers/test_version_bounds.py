"""A bounded number of versions of each head, over the API."""

from __future__ import annotations

import pytest

from service.errors import LimitExceeded, NotFound, PreconditionFailed
from tests.service.learning_head import OpenLearningHead, strangers
from tests.service.server import HEAD, LABELS, InProcessServer, StartServer, import_request
from trunkline.v1 import heads_pb2

BOUND = {"max_versions_per_head": 3}


def name(version: int | str) -> str:
    return f"{HEAD}/versions/{version}"


async def numbers(server: InProcessServer) -> list[int]:
    listed = await server.ask("ListHeadVersions", heads_pb2.ListHeadVersionsRequest(head=HEAD))
    return [version.version for version in listed.versions]


async def pin(server: InProcessServer, version: int | str, **values: bool) -> heads_pb2.HeadVersion:
    request = heads_pb2.PinHeadVersionRequest(name=name(version), **values)
    pinned: heads_pb2.HeadVersion = (await server.ask("PinHeadVersion", request)).version
    return pinned


async def delete(server: InProcessServer, version: int | str) -> None:
    request = heads_pb2.DeleteHeadVersionRequest(name=name(version))
    await server.ask("DeleteHeadVersion", request)


async def test_reply_that_made_a_version_go_names_it(start_server: StartServer) -> None:
    async with start_server(**BOUND) as server:
        await server.create(spec=heads_pb2.HeadSpec(family="ridge"))
        await server.add(LABELS)
        for _ in range(3):
            assert list((await server.train()).removed_versions) == []
        trained = await server.train()
        assert list(trained.removed_versions) == [1]
        asked = heads_pb2.GetTrainingRequest(name=trained.name)
        again = (await server.ask("GetTraining", asked)).training
        assert list(again.removed_versions) == [1]
        renamed = await server.ask(
            "RenameLabel",
            heads_pb2.RenameLabelRequest(head=HEAD, label="red", new_label="crimson"),
        )
        assert list(renamed.removed_versions) == [2]
        imported = await server.ask("ImportHead", import_request(activate=False))
        assert list(imported.removed_versions) == [3]
        assert await numbers(server) == [6, 5, 4]
        rollback = heads_pb2.ActivateHeadVersionRequest(name=name(4))
        assert (await server.ask("ActivateHeadVersion", rollback)).head.active_version == 4


async def test_live_copy_that_takes_over_lets_the_oldest_go(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(**BOUND) as head:
        for round_number in range(3):
            await head.send(strangers(2, seed=round_number), "red")
            promoted = await head.promote()
        assert list(promoted.removed_versions) == [1]
        assert await numbers(head.server) == [4, 3, 2]


async def test_pinned_version_outlives_others(start_server: StartServer) -> None:
    async with start_server(max_versions_per_head=4) as server:
        for _ in range(4):
            await server.ask("ImportHead", import_request())
        assert (await pin(server, 1)).pinned
        with pytest.raises(LimitExceeded, match="at most 1 versions"):
            await pin(server, "active")
        imported = await server.ask("ImportHead", import_request())
        assert list(imported.removed_versions) == [2]
        with pytest.raises(PreconditionFailed, match="is pinned"):
            await delete(server, 1)
        assert not (await pin(server, 1, pinned=False)).pinned
        await delete(server, 1)
        assert await numbers(server) == [5, 4, 3]


async def test_active_version_is_not_deleted(server: InProcessServer) -> None:
    for _ in range(2):
        await server.ask("ImportHead", import_request())
    for version in (2, "active"):
        with pytest.raises(PreconditionFailed, match=r"2 of .* is the active one"):
            await delete(server, version)
    await delete(server, 1)
    for call in (pin, delete):
        with pytest.raises(NotFound):
            await call(server, 1)
