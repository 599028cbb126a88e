"""A tuning's task and result: files in a folder of its own, which outlive a crash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import adapters
from service.fitting.task import FittedHead
from service.subprocesses import frames
from service.tuning.durable_files import write

TASK = "task"
RESULT = "result"


@dataclass(frozen=True, slots=True)
class TuningTask:
    """The examples as they were when the training began, and what to make of them.

    Attributes:
        backbone, fingerprint: whose tail is tuned.
        digests: of the examples, in the order of the labels.
        embeddings: by the frozen backbone; float32, shape (n, dim).
        weights: float64, shape (n,).
        views, view_rows: embeddings of views (m, dim) and the example (m,) each is of, or None.
        start: the safetensors file of a head to begin from, or None.
        groups: what each example belongs to; None if none of them belongs to anything.
    """

    backbone: str
    fingerprint: str
    spec: adapters.HeadSpec
    labels: Sequence[str]
    digests: Sequence[str]
    embeddings: NDArray[np.float32]
    weights: NDArray[np.float64]
    views: NDArray[np.float32] | None = None
    view_rows: NDArray[np.int64] | None = None
    start: bytes | None = None
    groups: Sequence[str | None] | None = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns all that is stored as raw bytes, by the name of its field."""
        return _given(
            embeddings=self.embeddings,
            weights=self.weights,
            views=self.views,
            view_rows=self.view_rows,
            start=_bytes(self.start),
        )


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
    facts = {
        "backbone": task.backbone,
        "fingerprint": task.fingerprint,
        "spec": task.spec.to_json(),
        "labels": list(task.labels),
        "digests": list(task.digests),
        "groups": None if task.groups is None else list(task.groups),
    }
    _write(folder / TASK, facts, task.arrays())


def read_task(folder: Path) -> TuningTask | None:
    """Reads the task in a folder; None if there is none."""
    found = _read(folder / TASK)
    if found is None:
        return None
    facts, arrays = found
    start = arrays.get("start")
    return TuningTask(
        backbone=facts["backbone"],
        fingerprint=facts["fingerprint"],
        spec=adapters.HeadSpec.from_json(facts["spec"]),
        labels=facts["labels"],
        digests=facts["digests"],
        embeddings=arrays["embeddings"],
        weights=arrays["weights"],
        views=arrays.get("views"),
        view_rows=arrays.get("view_rows"),
        start=None if start is None else start.tobytes(),
        groups=facts.get("groups"),
    )


def write_result(folder: Path, result: TuningResult) -> None:
    """Writes a result beside its task."""
    head = result.head
    facts = {"labels": head.labels, "report": head.report, "cpu_seconds": head.cpu_seconds}
    arrays = _given(
        head=_bytes(head.safetensors), tail=_bytes(result.tail), features=result.features
    )
    _write(folder / RESULT, facts, arrays)


def read_result(folder: Path) -> TuningResult | None:
    """Reads the result in a folder; None if there is none yet."""
    found = _read(folder / RESULT)
    if found is None:
        return None
    facts, arrays = found
    head = FittedHead(
        tuple(facts["labels"]),
        facts["report"],
        None,
        facts["cpu_seconds"],
        arrays["head"].tobytes(),
    )
    tail = arrays.get("tail")
    return TuningResult(head, None if tail is None else tail.tobytes(), arrays.get("features"))


def _bytes(data: bytes | None) -> NDArray[np.uint8] | None:
    return None if data is None else np.frombuffer(data, dtype=np.uint8)


def _given(**arrays: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    return {name: array for name, array in arrays.items() if array is not None}


def _write(path: Path, facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    write(path, *frames.pack_arrays(facts, arrays))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    if not path.exists():
        return None
    with path.open("rb") as file:
        frame = frames.read(file)
    assert frame is not None
    header, payload = frame
    return header, frames.unpack_arrays(header, payload)
