"""The tuning process: one task, from its folder, to a result in it.

It runs at low priority and knows neither the store nor the network; it alone imports torch for a
training. Activations of views that it tries it asks the server for. When the server is gone its
standard input ends, and it exits at once; the server's successor starts it again, and it goes on
from the last checkpoint.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

import adapters
import models
from adapters.errors import ViewsUnavailable
from adapters.progress import within
from adapters.spec import ViewSet
from models.tails import tail_fingerprint, write_tail
from service.errors import StoreFailed, StoreFull
from service.fitting.task import FittedHead
from service.fitting.worker import fit
from service.subprocesses import frames
from service.subprocesses.main import Server, serve
from service.tuning.durable_files import write
from service.tuning.mapped_activations import StoredActivations
from service.tuning.task import TuningResult, TuningTask, read_task, write_result

if TYPE_CHECKING:
    from adapters.tuning import Tensors, Tuned

BASE_SHARE = 0.05
"""Share of the work for the head on the frozen backbone, which tuning starts from."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are and what to compute with.

    Attributes:
        folder: the tuning's own.
        activations: the folder of the examples' activations.
        views: whether the inputs have views, so that some can be tried.
        engine, device, catalogue, offline: as the server's.
        threads: threads of torch on a CPU.
    """

    folder: str
    activations: str
    views: bool
    engine: str
    device: str
    catalogue: str | None
    offline: bool
    threads: int


class _Checkpoints:
    """Files of a folder; see `adapters.tuning.Checkpoints`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: str) -> bytes | None:
        """Returns what was saved last under that name."""
        path = self._path(name)
        return path.read_bytes() if path.exists() else None

    def save(self, name: str, data: bytes) -> None:
        """Saves it atomically."""
        write(self._path(name), data)

    def _path(self, name: str) -> Path:
        return self._folder / f"checkpoint-{name}"


def answer(header: dict[str, Any], arrays: dict[str, NDArray[Any]], server: Server) -> frames.Parts:
    """Runs the tuning whose settings the header has."""
    try:
        _work(Settings(**header), server)
    except models.ModelError as error:
        raise adapters.InvalidArgument(str(error), field="backbone") from error
    except (StoreFailed, StoreFull) as error:
        raise adapters.InvalidArgument(error.message, field="data_dir") from error
    return frames.pack({"done": True})


def _work(settings: Settings, server: Server) -> None:
    started = time.process_time()
    folder = Path(settings.folder)
    task = read_task(folder)
    assert task is not None
    tuned = _tune(settings, task, server)
    fitted, tail = tuned.fitted, tuned.tail
    head = FittedHead.of(fitted, None, time.process_time() - started)
    data = None if tail is None else _file(task, tail.tensors)
    write_result(folder, TuningResult(head, data, None if tail is None else tail.features))


def _tune(settings: Settings, task: TuningTask, server: Server) -> Tuned:
    from adapters.tuning import tune
    from service.tuning.network import load_tunable

    def activations(views: ViewSet) -> StoredActivations:
        return StoredActivations(Path(settings.activations), task.digests, views)

    def views_of(views: ViewSet) -> StoredActivations:
        server.write(frames.pack({"views": views.kind, "count": views.count}))
        refusal = server.read()[0]["refusal"]
        if refusal is not None:
            raise ViewsUnavailable(refusal)
        return activations(views)

    rows = activations(task.base.spec.fine_tune.named_views or ViewSet())
    began = time.perf_counter()
    base = fit(task.base, within(server.progress, 0.0, BASE_SHARE))
    base_seconds = time.perf_counter() - began
    server.progress(BASE_SHARE, "loading the network")
    tunable = load_tunable(
        task.backbone,
        task.base.fingerprint,
        whole=_whole(task),
        engine=settings.engine,
        device=settings.device,
        catalogue=None if settings.catalogue is None else Path(settings.catalogue),
        offline=settings.offline,
    )

    before = tunable.digest()
    tuned = tune(
        tunable.module,
        rows,
        task.base.labels,
        task.base.spec,
        base=base,
        embeddings=task.base.embeddings,
        name=lambda tensors: tail_fingerprint(_file(task, tensors)),
        clock=time.perf_counter,
        progress=within(server.progress, BASE_SHARE, 1.0),
        checkpoints=_Checkpoints(Path(settings.folder)),
        weights=task.base.weights,
        views=task.base.views,
        views_of=views_of if settings.views else None,
        base_seconds=base_seconds,
        threads=settings.threads,
        device=tunable.device,
    )
    if tunable.digest() != before:
        raise RuntimeError(f"fine-tuning changed {task.backbone}, which all tenants share")
    return tuned


def _whole(task: TuningTask) -> bool:
    return task.base.spec.fine_tune.strategy == adapters.STRATEGIES[-1]


def _file(task: TuningTask, tensors: Tensors) -> bytes:
    return write_tail(task.base.fingerprint, tensors, whole=_whole(task))


if __name__ == "__main__":
    serve(answer)
