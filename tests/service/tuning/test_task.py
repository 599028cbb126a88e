"""What tunings keep on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import adapters
from adapters.spec import ViewSet
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


async def no_views(views: ViewSet) -> str:
    return f"{views} cannot be made"


async def test_result_of_before_a_crash_is_taken_without_tuning_again(tmp_path: Path) -> None:
    tuner = TuningProcess(tmp_path, threads=1, silence_seconds=60)
    await tuner.begin("job", task())
    assert read_result(tmp_path / "job") is None
    features = np.ones((3, 4), np.float32)
    write_result(tmp_path / "job", TuningResult(HEAD, b"tail", features))
    result = await tuner.run("job", {}, lambda *_: None, no_views)
    assert (result.head, result.tail) == (HEAD, b"tail")
    np.testing.assert_array_equal(result.features, features)
    write_result(tmp_path / "job", TuningResult(HEAD, None, None))
    plain = await tuner.run("job", {}, lambda *_: None, no_views)
    assert (plain.tail, plain.features) == (None, None)


async def test_folders_of_jobs_that_have_ended_are_removed(tmp_path: Path) -> None:
    tuner = TuningProcess(tmp_path / "tuning", threads=1, silence_seconds=60)
    await tuner.remove_stale([])
    for job in ("ended", "unfinished", "discarded"):
        await tuner.begin(job, task())
    await tuner.delete("discarded")
    await tuner.delete("discarded")
    await tuner.remove_stale(["unfinished"])
    assert [path.name for path in (tmp_path / "tuning").iterdir()] == ["unfinished"]
    assert await tuner.task("unfinished") is not None
