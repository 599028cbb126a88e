"""The process that compares options: reads examples from standard input, writes one advice.

It runs at low priority, knows neither the store nor the network, and is made for one advice. When
the server is gone its standard input ends, and it exits at once.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO

from numpy.typing import NDArray

from adapters.advice import Advisor, Pixels, Texts
from adapters.errors import InvalidArgument
from service.fitting.worker import NICENESS
from service.subprocesses import frames as frames


def main() -> None:
    """Answers one request."""
    os.nice(NICENESS)
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not get between the frames
    request = frames.read(sys.stdin.buffer)
    if request is None:
        return
    threading.Thread(target=_exit_at_end, args=(sys.stdin.buffer,), daemon=True).start()
    header, payload = request
    output.write(_answer(header, frames.unpack_arrays(header["arrays"], payload)))


def _exit_at_end(stream: BinaryIO) -> None:
    stream.read(1)
    os._exit(0)


def _answer(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> bytes:
    try:
        return frames.pack(_advise(header, arrays))
    except InvalidArgument as error:
        return frames.pack(
            {
                "error": str(error),
                "field": error.field,
                "limit": error.limit,
                "value": error.value,
            }
        )
    except Exception:
        traceback.print_exc()
        return frames.pack({"failed": True})


def _advise(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    labels = header["labels"]
    embeddings = {name: arrays[f"embeddings/{name}"] for name in header["backbones"]}
    advisor = Advisor(embeddings, _raw(arrays, len(set(labels))), labels, header["seed"])
    seconds = {}
    for option in advisor.options:
        started = time.perf_counter()
        advisor.judge(option)
        seconds[option] = time.perf_counter() - started
    return {"advice": advisor.conclude().to_json(), "seconds": seconds}


def _raw(arrays: dict[str, NDArray[Any]], classes: int) -> Pixels | Texts:
    if "pixels" in arrays:
        return Pixels(arrays["pixels"])
    data, ends = arrays["texts"].tobytes(), arrays["ends"].tolist()
    starts = [0, *ends[:-1]]
    return Texts(
        [data[start:end].decode() for start, end in zip(starts, ends, strict=True)], classes
    )


if __name__ == "__main__":
    main()
