"""A server whose disk stalls: what is in memory is answered, the rest is told to come again."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import Unavailable
from tests.service.server import HEAD, StartServer, best, import_request, texts
from tests.service.store.stalling import Clock, StalledDisk
from trunkline.v1 import heads_pb2


async def test_cached_predictions_go_on_and_readiness_names_the_store_until_it_goes_on(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, reads, writes = Clock(monkeypatch), StalledDisk(), StalledDisk()
    async with start_server() as server:
        readiness, database = server.application.readiness, server.application._database
        await server.ask("ImportHead", import_request())
        before = best(await server.predict(*texts("known")))
        work = [
            asyncio.create_task(database.read(reads.stall)),
            asyncio.create_task(database.write(writes.stall)),
        ]
        await reads.stalls()
        await writes.stalls()
        try:
            clock.jump()
            clock.fire()
            assert readiness.reasons == ("the store does not answer, as its disk stalls",)
            assert best(await server.predict(*texts("known"))) == before
            assert best(await server.predict(*texts("new"))) == before
            for request in (
                server.ask("GetHead", heads_pb2.GetHeadRequest(name=HEAD)),
                server.create("tenants/acme/heads/other"),
                server.predict(*texts("known"), head="tenants/acme/heads/cold"),
            ):
                with pytest.raises(Unavailable, match="the store does not answer") as caught:
                    await request
                assert caught.value.retry_after == 5.0
        finally:
            reads.go_on()
            writes.go_on()
        await asyncio.gather(*work)
        await readiness.until_ready()
        assert (await server.create("tenants/acme/heads/other")).name.endswith("other")
