"""Tasks that run at once, and work that a cancelled caller waits for."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
import structlog

from service.concurrency.file_threads import THREADS, FileThreads
from service.concurrency.tasks import UninterruptedTasks, gather_or_raise
from service.errors import Unavailable


async def test_first_error_of_things_done_together_ends_the_others() -> None:
    ended: list[str] = []

    async def wait() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waiting")
        return 0

    async def fail() -> int:
        raise Unavailable("gone")

    with pytest.raises(Unavailable, match="gone"):
        await gather_or_raise([wait(), fail()])
    assert ended == ["waiting"]

    async def give(value: int) -> int:
        return value

    assert await gather_or_raise([give(1), give(2)]) == [1, 2]
    assert await gather_or_raise([give(3)]) == [3]


async def test_who_is_cancelled_waits_for_what_must_not_be_left_half_way() -> None:
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go.wait(60)
        ended.set()

    running = asyncio.create_task(FileThreads("files").run_shielded(work))
    await asyncio.to_thread(begun.wait, 60)
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


@pytest.mark.parametrize(
    ("error", "level"), [(Unavailable("gone"), "info"), (ValueError("a fault"), "error")]
)
async def test_error_of_work_whose_caller_was_cancelled_goes_to_the_log(
    error: Exception, level: str
) -> None:
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    tasks, begun, go = UninterruptedTasks(), asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        begun.set()
        await go.wait()
        raise error

    with structlog.testing.capture_logs() as logged:
        waiting = asyncio.create_task(tasks.run(fail()))
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go.set()
        await tasks.close()
        await asyncio.sleep(0)
    gc.collect()
    assert [entry["log_level"] for entry in logged] == [level]
    assert not unseen


async def test_files_that_a_disk_holds_up_leave_the_threads_that_all_share_alone() -> None:
    files, go_on = FileThreads("files"), threading.Event()
    held = [asyncio.create_task(files.run(go_on.wait, 60)) for _ in range(50)]
    await asyncio.sleep(0)
    named = [thread for thread in threading.enumerate() if thread.name.startswith("files_")]
    assert len(named) == THREADS
    go_on.set()
    assert await asyncio.gather(*held) == [True] * 50
