"""The training process: reads examples from standard input, writes heads to standard output.

It runs at low priority and knows neither the store nor the network. When the server is gone its
standard input ends, and it exits at once, also in the middle of a fit.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import Any, BinaryIO

import numpy as np

import adapters
from service import fitting_frames as frames

NICENESS = 10

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


def _receive(stream: BinaryIO, requests: queue.SimpleQueue[_Request]) -> None:
    while (frame := frames.read(stream)) is not None:
        requests.put(frame)
    os._exit(0)


def _answer(header: dict[str, Any], payload: bytes, output: BinaryIO) -> bytes:
    embeddings = np.frombuffer(payload, dtype="<f4").reshape(header["shape"])

    def tell(progress: float, phase: str) -> None:
        output.write(frames.pack({"progress": progress, "phase": phase}))

    try:
        fitted = adapters.fit(
            embeddings,
            header["labels"],
            adapters.HeadSpec.from_json(header["spec"]),
            fingerprint=header["fingerprint"],
            progress=tell,
        )
    except adapters.InvalidArgument as error:
        return frames.pack(
            {
                "error": str(error),
                "field": error.field,
                "limit": error.limit,
                "value": error.value,
            }
        )
    report = fitted.report.to_json()
    return frames.pack(
        {"report": report, "labels": fitted.head.labels}, fitted.head.to_safetensors()
    )


if __name__ == "__main__":
    main()
