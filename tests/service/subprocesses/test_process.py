"""What the server starts beside itself, it ends itself, also where it hangs or does not start."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from adapters.progress import ignore_progress
from adapters.spec import ViewSet
from service.advice.process import AdviceTask, compare_options
from service.errors import FitterDied
from service.subprocesses import frames, process
from service.subprocesses.process import Child, child_of_one_task
from service.tuning.process import TuningProcess

SILENCE = 0.2


async def start(module: str, silence_seconds: float = 60.0) -> Child:
    return await Child.start(f"service.{module}.worker", 1, "the process", silence_seconds)


@pytest.mark.costly
@pytest.mark.parametrize("module", ["fitting", "tuning", "advice"])
async def test_ctrl_c_in_a_terminal_does_not_reach_a_child(module: str) -> None:
    child = await start(module)
    try:
        assert os.getpgid(child.pid) != os.getpgid(0)
    finally:
        await child.end()


@pytest.mark.parametrize("module", ["fitting", "tuning", "advice"])
@pytest.mark.parametrize("nbytes", [10, 8_000_000])
async def test_child_that_gives_no_sign_of_life_is_ended_and_named(
    module: str, nbytes: int
) -> None:
    """The pipe takes a small task; of a large one the child has to take something."""
    child = await start(module, SILENCE)
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(FitterDied, match=f"no sign of life for {SILENCE} s") as caught:
        await child.ask(frames.pack({}, {"rows": bytes(nbytes)}))
    assert (caught.value.field, caught.value.limit) == ("child_silence_seconds", SILENCE)
    assert not child.running
    assert not psutil.pid_exists(child.pid)


async def test_task_that_is_called_off_ends_a_child_that_hangs_at_once() -> None:
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with child_of_one_task("service.advice.worker", 1, "it", 10_000.0) as child:
            os.kill(child.pid, signal.SIGSTOP)
            started.set_result(child.pid)
            await child.next_frame()

    task = asyncio.create_task(work())
    pid = await started
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert not psutil.pid_exists(pid)


async def test_child_that_computes_for_long_gives_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It computes until the server has heard of it more often than it may be silent."""
    heard = asyncio.Event()
    beats = 0
    read = Child._read

    async def counted(child: Child) -> frames.Frame:
        nonlocal beats
        frame = await read(child)
        beats += frame[0] == frames.ALIVE
        if beats == 3:
            heard.set()
        return frame

    monkeypatch.setattr(Child, "_read", counted)
    (tmp_path / "computing.py").write_text(
        "from service.subprocesses import frames, main\n"
        "main.BEAT_SECONDS = 0.001\n"
        "def answer(header, arrays, server):\n"
        "    server.read()\n"
        "    return frames.pack({'done': True})\n"
        "main.serve(answer)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    async with child_of_one_task("computing", 1, "it", 60.0) as child:
        answer = asyncio.create_task(child.ask(frames.pack({})))
        await heard.wait()
        await child.send(frames.pack({}))
        assert await answer == ({"done": True}, {})


async def test_child_that_cannot_be_started_is_an_error_that_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FitterDied, match="could not be started: No such file"):
        await start("fitting")


async def test_killed_child_that_does_not_end_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one does that waits for a disk."""
    monkeypatch.setattr(process, "END_SECONDS", 0.01)
    child = await start("advice")
    with monkeypatch.context() as patch:
        patch.setattr(child._process, "kill", lambda: None)
        await child.end()
        assert child.running
    await child.end()
    await child._process.wait()


async def compare(folder: Path) -> object:
    rows = np.zeros((4, 2), np.float32)
    task = AdviceTask({"tiny/text": rows}, ["a", "b", "c", "d"], ["x", "x", "y", "y"], seed=0)
    return await compare_options(task, 1, SILENCE)


async def tune(folder: Path) -> object:
    async def no_views(views: ViewSet) -> str:
        return f"{views} cannot be made"

    return await TuningProcess(folder, 1, SILENCE).run("job", {}, ignore_progress, no_views)


@pytest.mark.parametrize("work", [compare, tune])
async def test_advice_and_tuning_end_with_the_reason_where_their_process_hangs(
    work: Callable[[Path], Awaitable[object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that never gets as far as its first step."""
    started: list[Child] = []
    real = Child.start

    async def start_and_stop(*arguments: Any) -> Child:
        started.append(await real(*arguments))
        os.kill(started[-1].pid, signal.SIGSTOP)
        return started[-1]

    monkeypatch.setattr(Child, "start", start_and_stop)
    with pytest.raises(FitterDied, match="gave no sign of life"):
        await work(tmp_path)
    assert [child.running for child in started] == [False]
