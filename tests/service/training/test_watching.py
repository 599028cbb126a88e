"""What those are told who watch a training."""

from __future__ import annotations

from tests.service.server import HEAD, LABELS, InProcessServer
from trunkline.v1 import heads_pb2


async def test_watcher_who_reads_late_is_told_the_end(server: InProcessServer) -> None:
    await server.create()
    await server.add(LABELS)
    request = heads_pb2.TrainHeadRequest(head=HEAD)
    late = server.application.handlers["TrainHead"](request, server.call("TrainHead", request))
    first = (await anext(late)).training
    assert first.state == heads_pb2.TRAINING_STATE_QUEUED
    ended = await server.train()  # joins it, and reads to its end
    assert ended.name == first.name
    told = [reply.training.state async for reply in late]
    assert told[-1] == heads_pb2.TRAINING_STATE_SUCCEEDED
