"""Processes that fit and hang: their training ends, the next one works, nobody waits for them."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable

import psutil
import pytest

from service.errors import Unavailable
from service.subprocesses import process
from service.subprocesses.process import Child
from tests.service.child_processes import children_running
from tests.service.server import HEAD, LABELS, InProcessServer, StartServer
from tests.service.waiting import Changes
from trunkline.digest import text_digest
from trunkline.v1 import heads_pb2

NEVER = 10_000.0
Start = Callable[[str, int, str, float], Awaitable[Child]]


class Stopped:
    """Stops the next child as soon as it is started; `pid` is its process id."""

    child: Child

    def __init__(self, start: Start, silence_seconds: float) -> None:
        self._start = start
        self._silence_seconds = silence_seconds
        self.pid: int | None = None
        self.changes = Changes()

    async def start(self, module: str, threads: int, name: str, silence_seconds: float) -> Child:
        if self.pid is not None:
            return await self._start(module, threads, name, silence_seconds)
        child = await self._start(module, threads, name, self._silence_seconds)
        os.kill(child.pid, signal.SIGSTOP)
        self.child, self.pid = child, child.pid
        self.changes.notify()
        return child

    async def wait(self) -> int:
        await self.changes.until(lambda: self.pid is not None)
        assert self.pid is not None
        return self.pid


@pytest.fixture
def stop_next(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Stopped]:
    """Has the next child hang, which may be silent for so many seconds."""
    real = Child.start

    def patch(silence_seconds: float) -> Stopped:
        stopped = Stopped(real, silence_seconds)
        monkeypatch.setattr(Child, "start", stopped.start)
        return stopped

    return patch


async def test_training_fails_with_the_reason_and_the_next_one_works_and_closing_waits_for_none(
    start_server: StartServer, stop_next: Callable[[float], Stopped]
) -> None:
    async with start_server() as server:
        await server.create()
        await server.add(LABELS)
        stop_next(0.2)
        failed = await server.train()
        assert failed.state == heads_pb2.TRAINING_STATE_FAILED
        assert failed.error_code == "INTERNAL"
        assert "gave no sign of life for 0.2 s, and was ended" in failed.error_message
        assert (await server.train()).version == 1
        for child in children_running("service.fitting.worker"):
            child.kill()
            child.wait(60)
        stopped = stop_next(NEVER)
        forgetting = asyncio.create_task(server.forget(text_digest("red one")))
        pid = await stopped.wait()
    with pytest.raises(Unavailable, match="shutting down") as caught:
        await forgetting
    assert caught.value.retry_after == 1.0
    assert not psutil.pid_exists(pid)


async def test_training_that_hangs_is_cancelled_at_once_and_a_head_with_one_is_deleted(
    server: InProcessServer, stop_next: Callable[[float], Stopped]
) -> None:
    async def begin() -> tuple[int, heads_pb2.Training]:
        stopped = stop_next(NEVER)
        request = heads_pb2.TrainHeadRequest(head=HEAD)
        handler = server.application.handlers["TrainHead"]
        watched = handler(request, server.call("TrainHead", request))
        first = (await anext(watched)).training
        await watched.aclose()
        return await stopped.wait(), first

    await server.create()
    await server.add(LABELS)
    pid, training = await begin()
    request = heads_pb2.CancelTrainingRequest(name=training.name)
    cancelled = (await server.ask("CancelTraining", request)).training
    assert cancelled.state == heads_pb2.TRAINING_STATE_CANCELLED
    assert not psutil.pid_exists(pid)
    pid, _ = await begin()
    await server.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=HEAD))
    assert not psutil.pid_exists(pid)


async def test_process_that_a_disk_keeps_from_ending_is_not_used_again(
    server: InProcessServer,
    stop_next: Callable[[float], Stopped],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await server.create()
    await server.add(LABELS)
    stopped = stop_next(0.2)
    with monkeypatch.context() as patch:
        patch.setattr(process, "END_SECONDS", 0.01)
        patch.setattr(Process, "kill", lambda _: None)
        failed = await server.train()
    assert "gave no sign of life" in failed.error_message
    kept = psutil.Process(await stopped.wait())
    try:
        assert kept.status() == psutil.STATUS_STOPPED
        assert (await server.train()).version == 1
    finally:
        while stopped.child.running:
            await stopped.child.end()
