"""What tunings keep on the disk, and small things that they stand on."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

import adapters
from service.concurrency.retry import ATTEMPTS, retry_when_full
from service.concurrency.tasks import gather_or_raise, to_thread_shielded
from service.errors import QueueFull, Unavailable
from service.fitting.task import FittedHead
from service.tuning.process import TuningProcess
from service.tuning.task import (
    TuningResult,
    TuningTask,
    read_result,
    read_task,
    write_result,
    write_task,
)
from tests.service.tiny_backbone import FINGERPRINT

SPEC = adapters.HeadSpec(family="ridge", fine_tune=adapters.FineTune("tail", views=2))
HEAD = FittedHead(("a", "b"), {"family": "ridge"}, None, 1.5, b"head")


def task(**values: object) -> TuningTask:
    given = {
        "backbone": "tiny/text",
        "fingerprint": FINGERPRINT,
        "spec": SPEC,
        "labels": ["a", "b", "a"],
        "digests": ["1" * 64, "2" * 64, "3" * 64],
        "embeddings": np.arange(12, dtype=np.float32).reshape(3, 4),
        "weights": np.array([1.0, 2.0, 0.5]),
        **values,
    }
    return TuningTask(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        task(),
        task(
            views=np.ones((2, 4), np.float32), view_rows=np.array([0, 2]), start=b"a head of before"
        ),
    ],
)
def test_task_comes_back_from_its_folder(tmp_path: Path, given: TuningTask) -> None:
    assert read_task(tmp_path / "job") is None
    write_task(tmp_path / "job", given)
    found = read_task(tmp_path / "job")
    assert found is not None
    assert (found.spec, found.labels, found.digests) == (given.spec, given.labels, given.digests)
    assert (found.backbone, found.fingerprint, found.start) == (
        given.backbone,
        given.fingerprint,
        given.start,
    )
    arrays = found.arrays()
    assert arrays.keys() == given.arrays().keys()
    for name, array in given.arrays().items():
        np.testing.assert_array_equal(arrays[name], array)


async def test_result_of_before_a_crash_is_taken_without_tuning_again(tmp_path: Path) -> None:
    tuner = TuningProcess(tmp_path, threads=1)
    await tuner.begin("job", task())
    assert read_result(tmp_path / "job") is None
    features = np.ones((3, 4), np.float32)
    write_result(tmp_path / "job", TuningResult(HEAD, b"tail", features))
    result = await tuner.run("job", {}, lambda *_: None)
    assert (result.head, result.tail) == (HEAD, b"tail")
    np.testing.assert_array_equal(result.features, features)
    write_result(tmp_path / "job", TuningResult(HEAD, None, None))
    plain = await tuner.run("job", {}, lambda *_: None)
    assert (plain.tail, plain.features) == (None, None)


async def test_folders_of_jobs_that_have_ended_are_swept(tmp_path: Path) -> None:
    tuner = TuningProcess(tmp_path / "tuning", threads=1)
    await tuner.remove_stale([])
    for job in ("ended", "unfinished", "discarded"):
        await tuner.begin(job, task())
    await tuner.delete("discarded")
    await tuner.delete("discarded")
    await tuner.remove_stale(["unfinished"])
    assert [path.name for path in (tmp_path / "tuning").iterdir()] == ["unfinished"]
    assert await tuner.task("unfinished") is not None


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

    running = asyncio.create_task(to_thread_shielded(work))
    await asyncio.to_thread(begun.wait, 60)
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


async def test_full_server_is_asked_again_but_not_for_ever() -> None:
    asked: list[int] = []

    async def ask() -> str:
        asked.append(1)
        if len(asked) < 3:
            raise QueueFull("full", retry_after=0.001)
        return "embedded"

    assert await retry_when_full(ask) == "embedded"
    assert len(asked) == 3

    async def never() -> str:
        asked.append(1)
        raise Unavailable("away", retry_after=0.0001)

    asked.clear()
    with pytest.raises(Unavailable):
        await retry_when_full(never)
    assert len(asked) == ATTEMPTS
