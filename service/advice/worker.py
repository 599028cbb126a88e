"""The process that compares options: reads examples from standard input, writes one advice.

It runs at low priority, knows neither the store nor the network, and is made for one advice. When
the server is gone its standard input ends, and it exits at once.
"""

from __future__ import annotations

import time
from typing import Any

from numpy.typing import NDArray

from adapters.advice import Advisor, Pixels, Texts
from service.subprocesses import frames
from service.subprocesses.main import Server, serve


def answer(header: dict[str, Any], arrays: dict[str, NDArray[Any]], server: Server) -> frames.Parts:
    """Compares the options."""
    labels = header["labels"]
    embeddings = {name: arrays[f"embeddings/{name}"] for name in header["backbones"]}
    raw = _raw(arrays, len(set(labels)))
    advisor = Advisor(embeddings, raw, labels, header["seed"], header["groups"])
    seconds = {}
    for option in advisor.options:
        started = time.perf_counter()
        advisor.evaluate(option)
        seconds[option] = time.perf_counter() - started
    return frames.pack({"advice": advisor.conclude().to_json(), "seconds": seconds})


def _raw(arrays: dict[str, NDArray[Any]], classes: int) -> Pixels | Texts:
    if "pixels" in arrays:
        return Pixels(arrays["pixels"])
    data, ends = arrays["texts"].tobytes(), arrays["ends"].tolist()
    starts = [0, *ends[:-1]]
    return Texts(
        [data[start:end].decode() for start, end in zip(starts, ends, strict=True)], classes
    )


if __name__ == "__main__":
    serve(answer)
