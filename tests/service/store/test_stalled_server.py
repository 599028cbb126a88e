"""A server whose disk stalls: what is in memory is answered, the rest is told to come again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.progress import Progress
from service.errors import Unavailable
from service.fitting.process import FitProcess
from service.fitting.task import FitTask, FittedHead
from service.store import Database, stalls
from service.store import jobs as stored_jobs
from tests.service.server import HEAD, LABELS, StartServer, best, import_request, texts
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


async def test_version_that_is_fitted_while_the_disk_stalls_is_stored_when_it_goes_on(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, disk = Clock(monkeypatch), StalledDisk()
    monkeypatch.setattr(stalls, "RETRY_AFTER", 0.0)
    real, asked = FitProcess.fit, asyncio.Event()
    held: list[asyncio.Task[None]] = []
    refused = stored_jobs.finish_with_version

    async with start_server() as server:
        database = server.application._database

        async def fit(process: FitProcess, task: FitTask, progress: Progress) -> FittedHead:
            fitted = await real(process, task, progress)
            stalled = asyncio.create_task(database.write(disk.stall))
            await disk.stalls()
            clock.jump()
            clock.fire()
            held.append(stalled)
            return fitted

        write = Database.write

        async def watched(store: Database, function: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return await write(store, function, *args, **kwargs)
            except Unavailable:
                assert function is refused
                asked.set()
                raise

        monkeypatch.setattr(FitProcess, "fit", fit)
        monkeypatch.setattr(Database, "write", watched)
        await server.create()
        await server.add(LABELS)
        training = asyncio.create_task(server.train())
        await asked.wait()
        disk.go_on()
        assert (await training).version == 1
        await asyncio.gather(*held)
