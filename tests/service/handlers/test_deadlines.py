"""A request whose deadline passes is told so, and its rows are not computed for nobody."""

from __future__ import annotations

import asyncio

import pytest

from service.access.caller import ANYONE
from service.errors import DeadlineExceeded
from tests.service.server import HEAD, StartServer, import_request, texts
from trunkline.v1 import prediction_pb2


async def test_rows_of_a_request_whose_deadline_has_passed_are_not_computed(
    start_server: StartServer,
) -> None:
    request = prediction_pb2.PredictRequest(head=HEAD, inputs=texts("late one", "late two"))
    async with start_server(passes=1) as server:
        await server.ask("ImportHead", import_request())
        calls, backbone = server.application.calls, server.backbone
        loop, running = asyncio.get_running_loop(), asyncio.Event()

        def on_batch() -> None:
            loop.call_soon_threadsafe(running.set)

        backbone.on_batch = on_batch
        backbone.open.clear()
        before = asyncio.create_task(server.predict(*texts("before")))
        try:
            await running.wait()
            with pytest.raises(DeadlineExceeded):
                async with calls.handle(
                    "Predict", "grpc", request, caller=ANYONE, timeout=0.05
                ) as call:
                    await server.application.handlers["Predict"](request, call)
        finally:
            backbone.open.set()
        assert not (await before).errors
        assert not (await server.predict(*texts("after"))).errors
        assert backbone.batches[-2:] == [["before"], ["after"]]
