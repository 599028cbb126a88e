"""The training process: reads examples from standard input, writes heads to standard output.

It runs at low priority and knows neither the store nor the network. When the server is gone its
standard input ends, and it exits at once, also in the middle of a fit.
"""

from __future__ import annotations

import math
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

import adapters
from adapters.diagnostics import diagnose
from adapters.examples import Views
from service.subprocesses import frames as frames

NICENESS = 10
FIT_SHARE = 0.8
"""Of the work; the rest finds out how good the head is."""

UNKNOWN_PROBABILITY = 1e-6
"""Of a class that a head does not have: 14 nats for a test example of it, and not infinity."""

_Request = tuple[dict[str, Any], bytes]


def main() -> None:
    """Serves fits until standard input ends."""
    os.nice(NICENESS)
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not get between the frames
    requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, requests), daemon=True).start()
    while True:
        header, payload = requests.get()
        output.write(_answer(header, payload, output))
        del header, payload  # examples that are forgotten should not stay here


def _receive(stream: BinaryIO, requests: queue.SimpleQueue[_Request]) -> None:
    while (frame := frames.read(stream)) is not None:
        requests.put(frame)
    os._exit(0)


def _answer(header: dict[str, Any], payload: bytes, output: BinaryIO) -> bytes:
    def tell(progress: float, phase: str) -> None:
        output.write(frames.pack({"progress": progress, "phase": phase}))

    started = time.process_time()
    arrays = frames.unpack_arrays(header["arrays"], payload)
    try:
        spec = adapters.HeadSpec.from_json(header["spec"])
        fitted = fit(arrays, header["labels"], spec, header["fingerprint"], tell)
        test = measure(fitted.head, header["test_labels"], arrays.get("test_embeddings"))
    except Exception as error:  # a fault of ours costs this fit alone, not the process
        return failure(error)
    answer = {
        "report": fitted.report.to_json(),
        "labels": fitted.head.labels,
        "test": test,
        "cpu_seconds": time.process_time() - started,
    }
    return frames.pack(answer, fitted.head.to_safetensors())


def failure(error: Exception) -> bytes:
    """The frame that tells of an error: in words if the examples are to blame for it."""
    if not isinstance(error, adapters.InvalidArgument):
        traceback.print_exception(error)
        return frames.pack({"failed": True})
    facts = {"field": error.field, "limit": error.limit, "value": error.value}
    return frames.pack({"error": str(error), **facts})


def fit(
    arrays: Mapping[str, NDArray[Any]],
    labels: Sequence[str],
    spec: adapters.HeadSpec,
    fingerprint: str,
    tell: Callable[[float, str], None],
) -> adapters.Fitted:
    """Fits a head and finds out how good it is.

    Args:
        arrays: "embeddings", and what there is of "weights", "views", "view_rows" and "start", as
            `service.fitting.process.FitTask` has them.
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
        progress=lambda share, phase: tell(FIT_SHARE * share, phase),
    )
    return diagnose(
        fitted,
        embeddings,
        labels,
        weights=weights,
        views=views,
        progress=lambda share, phase: tell(FIT_SHARE + (1 - FIT_SHARE) * share, phase),
    )


def measure(
    head: adapters.Head, labels: Sequence[str], embeddings: NDArray[Any] | None
) -> dict[str, Any] | None:
    """The head measured on test examples; None without any.

    Where their label is none of the head's, it cannot be right. Such labels follow the head's as
    classes that are never predicted, with probability `UNKNOWN_PROBABILITY`.
    """
    if embeddings is None or not labels:
        return None
    logits = head.logits(embeddings)
    unknown = sorted(set(labels) - set(head.labels))
    total = logsumexp(logits / head.temperature, axis=1, keepdims=True)
    never = head.temperature * (total + math.log(UNKNOWN_PROBABILITY))
    logits = np.hstack([logits, np.repeat(never, len(unknown), axis=1)])
    classes = [*head.labels, *unknown]
    index = {label: i for i, label in enumerate(classes)}
    targets = np.array([index[label] for label in labels], dtype=np.intp)
    return adapters.evaluation(logits, targets, classes, head.temperature, "held-out").to_json()


if __name__ == "__main__":
    main()
