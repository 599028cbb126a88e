"""The training process: reads examples from standard input, writes heads to standard output.

It runs at low priority and knows neither the store nor the network. When the server is gone its
standard input ends, and it exits at once, also in the middle of a fit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

import adapters
from adapters.diagnostics import diagnose
from adapters.examples import Views
from adapters.held_out_set import LabelledRows, measure
from adapters.progress import Progress, within
from service.subprocesses import frames
from service.subprocesses.main import Server, serve

FIT_SHARE = 0.8
"""Of the work; the rest diagnoses the head."""


def answer(header: dict[str, Any], payload: bytes, server: Server) -> bytes:
    """Fits and measures a head."""
    started = time.process_time()
    arrays = frames.unpack_arrays(header, payload)
    spec = adapters.HeadSpec.from_json(header["spec"])
    labels, groups = header["labels"], header["groups"]
    fitted = fit(arrays, labels, spec, header["fingerprint"], server.progress, groups)
    result = None
    if "held_out" in arrays:
        held_out = LabelledRows(
            arrays["held_out"], header["held_out_labels"], header["held_out_groups"]
        )
        trained = LabelledRows(arrays["embeddings"], labels, groups)
        result = measure(fitted.head, held_out, trained, seed=spec.seed)
    facts = {
        "report": fitted.report.to_json(),
        "labels": fitted.head.labels,
        "held_out": None if result is None else result.to_json(),
        "cpu_seconds": time.process_time() - started,
    }
    return frames.pack(facts, fitted.head.to_safetensors())


def fit(
    arrays: Mapping[str, NDArray[Any]],
    labels: Sequence[str],
    spec: adapters.HeadSpec,
    fingerprint: str,
    progress: Progress,
    groups: Sequence[str | None] | None = None,
) -> adapters.Fitted:
    """Fits a head and diagnoses it.

    Args:
        arrays: "embeddings", and what there is of "weights", "views", "view_rows" and "start", as
            `service.fitting.process.FitTask` has them.
        groups: what each example belongs to, as there.
    """
    views = start = None
    if "views" in arrays:
        views = Views(arrays["views"], arrays["view_rows"])
    if "start" in arrays:
        start = adapters.Head.from_safetensors(arrays["start"].tobytes())
    embeddings, weights = arrays["embeddings"], arrays.get("weights")
    fitted = adapters.fit(
        embeddings,
        labels,
        spec,
        fingerprint=fingerprint,
        weights=weights,
        views=views,
        start=start,
        groups=groups,
        progress=within(progress, 0.0, FIT_SHARE),
    )
    return diagnose(
        fitted,
        embeddings,
        labels,
        weights=weights,
        views=views,
        progress=within(progress, FIT_SHARE, 1.0),
    )


if __name__ == "__main__":
    serve(answer)
