"""What tunings keep on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adapters
from adapters.examples import Views
from adapters.spec import ViewSet
from service.fitting.task import FitTask, FittedHead
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


def task(**values: Any) -> TuningTask:
    embeddings = np.arange(12, dtype=np.float32).reshape(3, 4)
    base = FitTask(embeddings, ["a", "b", "a"], SPEC, FINGERPRINT, **values)
    return TuningTask("tiny/text", ["1" * 64, "2" * 64, "3" * 64], base)


@pytest.mark.parametrize(
    "given",
    [
        task(),
        task(
            weights=np.array([1.0, 2.0, 0.5]),
            views=Views(np.ones((2, 4), np.float32), np.array([0, 2])),
            start=b"a head of before",
            groups=["scene", None, None],
        ),
    ],
)
def test_task_comes_back_from_its_folder(tmp_path: Path, given: TuningTask) -> None:
    assert read_task(tmp_path / "job") is None
    write_task(tmp_path / "job", given)
    found = read_task(tmp_path / "job")
    assert found is not None
    assert (found.backbone, found.digests) == (given.backbone, given.digests)
    base, expected = found.base, given.base
    for name in ("labels", "spec", "fingerprint", "start", "groups"):
        assert getattr(base, name) == getattr(expected, name)
    np.testing.assert_array_equal(base.embeddings, expected.embeddings)
    assert (base.weights is None) == (expected.weights is None)
    np.testing.assert_array_equal(base.weights, expected.weights)
    assert (base.views is None) == (expected.views is None)
    if base.views is not None and expected.views is not None:
        np.testing.assert_array_equal(base.views.embeddings, expected.views.embeddings)
        np.testing.assert_array_equal(base.views.rows, expected.views.rows)


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
