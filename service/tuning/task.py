"""A tuning's task and result: files in a folder of its own, which outlive a crash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.fitting.task import FitTask, FittedHead
from service.subprocesses import frames
from service.tuning.durable_files import write

TASK = "task"
RESULT = "result"


@dataclass(frozen=True, slots=True)
class TuningTask:
    """The examples as they were when the training began, and what to make of them.

    Attributes:
        backbone: whose tail is tuned.
        digests: of the examples, in the order of the labels.
        base: fits the head that is to be beaten, on the frozen backbone.
    """

    backbone: str
    digests: Sequence[str]
    base: FitTask


@dataclass(frozen=True, slots=True)
class TuningResult:
    """The result of a tuning.

    Attributes:
        head: the head to serve with; its report is complete.
        tail: the tail's file; None where it was not better than the backbone's own blocks.
        features: what the tail makes of the examples, float32 of shape (n, dim); None likewise.
    """

    head: FittedHead
    tail: bytes | None
    features: NDArray[np.float32] | None


def write_task(folder: Path, task: TuningTask) -> None:
    """Writes a task into a folder, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"backbone": task.backbone, "digests": list(task.digests)}
    write(folder / TASK, *task.base.pack(facts))


def read_task(folder: Path) -> TuningTask | None:
    """Reads the task in a folder; None if there is none."""
    found = _read(folder / TASK)
    if found is None:
        return None
    header, _ = found
    return TuningTask(header["backbone"], header["digests"], FitTask.unpack(*found))


def write_result(folder: Path, result: TuningResult) -> None:
    """Writes a result beside its task."""
    arrays = {"tail": result.tail, "features": result.features}
    write(folder / RESULT, *result.head.pack(arrays))


def read_result(folder: Path) -> TuningResult | None:
    """Reads the result in a folder; None if there is none yet."""
    found = _read(folder / RESULT)
    if found is None:
        return None
    _, arrays = found
    tail = arrays["tail"].tobytes() if "tail" in arrays else None
    return TuningResult(FittedHead.unpack(*found), tail, arrays.get("features"))


def _read(path: Path) -> frames.Frame | None:
    if not path.exists():
        return None
    with path.open("rb") as file:
        frame = frames.read(file)
    assert frame is not None
    return frame
