"""The training process: reads examples from standard input, writes heads to standard output.

It runs at low priority and knows neither the store nor the network. When the server is gone its
standard input ends, and it exits at once, also in the middle of a fit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

import adapters
from adapters.diagnostics import diagnose
from adapters.held_out_set import LabelledRows, measure
from adapters.progress import Progress, within
from service.fitting.task import FitTask, FittedHead
from service.subprocesses import frames
from service.subprocesses.main import Server, serve

FIT_SHARE = 0.8
"""Share of the work that fits; the rest diagnoses the head."""


def answer(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], server: Server
) -> frames.Parts:
    """Fits a head and measures it on what is held out."""
    started = time.process_time()
    task = FitTask.unpack(header, arrays)
    fitted = fit(task, server.progress)
    result = None
    if task.held_out is not None:
        trained = LabelledRows(task.embeddings, task.labels, task.groups)
        result = measure(fitted.head, task.held_out, trained, seed=task.spec.seed)
    return FittedHead.of(fitted, result, time.process_time() - started).pack()


def fit(task: FitTask, progress: Progress) -> adapters.Fitted:
    """Fits a head and diagnoses it."""
    start = None if task.start is None else adapters.Head.from_safetensors(task.start)
    fitted = adapters.fit(
        task.embeddings,
        task.labels,
        task.spec,
        fingerprint=task.fingerprint,
        weights=task.weights,
        views=task.views,
        start=start,
        groups=task.groups,
        progress=within(progress, 0.0, FIT_SHARE),
    )
    return diagnose(
        fitted,
        task.embeddings,
        task.labels,
        weights=task.weights,
        views=task.views,
        progress=within(progress, FIT_SHARE, 1.0),
    )


if __name__ == "__main__":
    serve(answer)
