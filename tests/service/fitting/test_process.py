"""Fits in a process of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

import adapters
from adapters.examples import Views
from adapters.held_out_set import LabelledRows
from adapters.progress import ignore_progress
from adapters.spec import Augmentation
from service.errors import FitFailed, FitterDied, PreconditionFailed, Unavailable
from service.fitting.process import FitProcess
from service.fitting.task import FitTask, FittedHead
from service.subprocesses.process import BLAS_THREAD_VARIABLES
from tests.service.child_processes import children_running
from tests.service.tiny_backbone import FINGERPRINT

SPEC = adapters.HeadSpec(family="ridge", seed=3)
DIM = 8


def examples(per_class: int = 10, dim: int = DIM) -> tuple[NDArray[np.float32], list[str]]:
    random = np.random.default_rng(0)
    labels = ["a", "b", "c"] * per_class
    centres = {"a": 0.0, "b": 2.0, "c": 4.0}
    rows = [random.normal(centres[label], 1.0, dim) for label in labels]
    return np.array(rows, dtype=np.float32), labels


def training_process() -> psutil.Process:
    """The one child of this process that runs the worker."""
    (found,) = children_running("service.fitting.worker")
    return found


@pytest.fixture
async def fit_process() -> AsyncIterator[FitProcess]:
    made = FitProcess(1, 60.0)
    yield made
    await made.close()


async def test_fault_in_a_fit_does_not_end_the_process(fit_process: FitProcess) -> None:
    embeddings, labels = examples()
    nonsense: Any = [None, *labels[1:]]
    with pytest.raises(FitFailed):
        await fit_process.fit(FitTask(embeddings, nonsense, SPEC, FINGERPRINT), ignore_progress)
    process = training_process()
    assert (await fit(fit_process)).labels == ("a", "b", "c")
    assert training_process() == process


async def fit(fit_process: FitProcess, spec: adapters.HeadSpec = SPEC) -> FittedHead:
    embeddings, labels = examples()
    return await fit_process.fit(FitTask(embeddings, labels, spec, FINGERPRINT), ignore_progress)


async def test_head_equals_the_one_fitted_in_this_process(fit_process: FitProcess) -> None:
    embeddings, labels = examples()
    progress: list[tuple[float, str]] = []
    fitted = await fit_process.fit(
        FitTask(embeddings, labels, SPEC, FINGERPRINT),
        lambda share, phase, details=None: progress.append((share, phase)),
    )
    expected = adapters.fit(embeddings, labels, SPEC, fingerprint=FINGERPRINT)
    assert fitted.labels == expected.head.labels
    head = adapters.Head.from_safetensors(fitted.safetensors)
    np.testing.assert_allclose(head.weight, expected.head.weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(head.bias, expected.head.bias, rtol=1e-5, atol=1e-6)
    assert head.fingerprint == FINGERPRINT
    report = adapters.Report.from_json(fitted.report)
    assert report.estimate == expected.report.estimate
    assert report.spec == SPEC
    assert report.evaluation is not None
    assert report.evaluation.estimate == report.estimate
    assert fitted.held_out is None
    assert fitted.cpu_seconds > 0
    shares = [share for share, _ in progress]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


async def test_weights_views_start_and_test_examples_take_part(fit_process: FitProcess) -> None:
    embeddings, labels = examples()
    held_out = LabelledRows(embeddings[:8], [*labels[:6], "a label of no training example", ""])
    held_out.embeddings[7] = embeddings[8]  # which is trained on
    embeddings, labels = embeddings[8:], labels[8:]
    random = np.random.default_rng(1)
    spec = adapters.HeadSpec(family="ridge", augment=Augmentation(views=2))
    task = FitTask(
        embeddings,
        labels,
        spec,
        FINGERPRINT,
        weights=random.uniform(0.5, 2, len(labels)),
        views=Views((embeddings[:5] + 0.01).astype(np.float32), np.arange(5)),
        start=(await fit(fit_process)).safetensors,
        held_out=held_out,
    )
    fitted = await fit_process.fit(task, ignore_progress)
    plain = await fit_process.fit(replace(task, weights=None), ignore_progress)
    assert fitted.report["augmentation"]["augmented_examples"] == 5
    assert fitted.held_out is not None
    assert fitted.held_out["left_out"] == [7]
    test = fitted.held_out["evaluation"]
    assert [item["label"] for item in test["classes"]][3:] == ["a label of no training example"]
    assert [sum(row) for row in test["confusion"]] == [2, 2, 2, 1]
    head, other = map(adapters.Head.from_safetensors, (fitted.safetensors, plain.safetensors))
    assert not np.allclose(head.weight, other.weight), "weights must change the head"


async def test_weights_count_in_what_the_report_says_as_they_do_in_the_head(
    fit_process: FitProcess,
) -> None:
    embeddings, labels = examples()
    weights = np.random.default_rng(1).uniform(0.1, 10, len(labels))
    fitted = await fit_process.fit(
        FitTask(embeddings, labels, SPEC, FINGERPRINT, weights), ignore_progress
    )
    here = adapters.fit(embeddings, labels, SPEC, fingerprint=FINGERPRINT, weights=weights)
    expected = adapters.diagnose(here, embeddings, labels, weights=weights).report
    report = adapters.Report.from_json(fitted.report)
    assert report.learning_curve == expected.learning_curve
    assert report.evaluation == expected.evaluation


async def test_process_is_kept_for_the_next_fit_and_runs_at_low_priority(
    fit_process: FitProcess,
) -> None:
    await fit(fit_process)
    first = training_process()
    await fit(fit_process)
    assert training_process().pid == first.pid
    assert first.nice() > psutil.Process().nice()


async def test_process_computes_on_as_many_threads_as_it_was_given(fit_process: FitProcess) -> None:
    await fit_process.warm_up()
    one = training_process()
    assert {one.environ()[name] for name in BLAS_THREAD_VARIABLES} == {"1"}
    await fit_process.close()
    three = FitProcess(3, 60.0)
    await three.warm_up()
    found = training_process().environ()
    await three.close()
    assert {found[name] for name in BLAS_THREAD_VARIABLES} == {"3"}


def test_process_exits_when_the_server_is_gone() -> None:
    command = [sys.executable, "-m", "service.fitting.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()


async def test_what_cannot_be_learned_is_refused_by_field_and_the_next_fit_works(
    fit_process: FitProcess,
) -> None:
    embeddings = np.array([[1, 2], [3, np.nan], [0, 1], [2, 2]], dtype=np.float32)
    labels = ["a", "a", "b", "b"]
    with pytest.raises(adapters.InvalidArgument) as expected:
        adapters.fit(embeddings, labels, SPEC, fingerprint=FINGERPRINT)
    with pytest.raises(PreconditionFailed) as caught:
        await fit_process.fit(FitTask(embeddings, labels, SPEC, FINGERPRINT), ignore_progress)
    told, meant = caught.value, expected.value
    assert str(told) == str(meant)
    assert (told.field, told.limit, told.value) == (meant.field, meant.limit, meant.value)
    before = training_process().pid
    assert (await fit(fit_process)).labels == ("a", "b", "c")
    assert training_process().pid == before


async def begin_long_fit(fit_process: FitProcess) -> asyncio.Task[FittedHead]:
    embeddings, labels = examples(per_class=400, dim=512)
    begun = asyncio.Event()
    spec = adapters.HeadSpec(family="logistic")
    task = asyncio.create_task(
        fit_process.fit(
            FitTask(embeddings, labels, spec, FINGERPRINT),
            lambda share, phase, details=None: begun.set(),
        )
    )
    await begun.wait()
    return task


async def test_cancelled_fit_ends_its_process_and_the_next_fit_works(
    fit_process: FitProcess,
) -> None:
    task = await begin_long_fit(fit_process)
    process = training_process()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not process.is_running()
    assert (await fit(fit_process)).labels == ("a", "b", "c")


async def test_killed_process_is_an_error_and_the_next_fit_works(fit_process: FitProcess) -> None:
    task = await begin_long_fit(fit_process)
    training_process().kill()
    with pytest.raises(FitterDied, match="-9"):
        await task
    assert (await fit(fit_process)).labels == ("a", "b", "c")


async def test_process_killed_between_fits_is_replaced(fit_process: FitProcess) -> None:
    await fit(fit_process)
    process = training_process()
    process.kill()
    try:
        fitted = await fit(fit_process)
    except FitterDied:  # its end was not known yet; it is now
        fitted = await fit(fit_process)
    assert fitted.labels == ("a", "b", "c")


async def test_closing_ends_the_process(fit_process: FitProcess) -> None:
    await fit_process.warm_up()
    process = training_process()
    await fit_process.close()
    assert not process.is_running()
    await fit_process.close()


async def test_fits_take_turns(fit_process: FitProcess) -> None:
    order: list[str] = []
    inside = asyncio.Event()
    leave = asyncio.Event()

    async def first() -> None:
        async with fit_process.acquire():
            inside.set()
            await leave.wait()
            order.append("first")

    async def second() -> None:
        async with fit_process.acquire():
            order.append("second")

    one = asyncio.create_task(first())
    await inside.wait()
    two = asyncio.create_task(second())
    await asyncio.sleep(0)
    leave.set()
    await asyncio.gather(one, two)
    assert order == ["first", "second"]


async def test_closing_while_the_process_starts_leaves_none(fit_process: FitProcess) -> None:
    starting = asyncio.create_task(fit_process.warm_up())
    await asyncio.sleep(0)
    await fit_process.close()
    with pytest.raises(Unavailable):
        await starting
    assert children_running("service.fitting.worker") == []
