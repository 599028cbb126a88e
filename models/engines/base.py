"""The contract of an engine, and the choice of one."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import DeviceUnavailable, UnknownEngine


class Precision(StrEnum):
    """Arithmetic of the network; part of the fingerprint."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Network(Protocol):
    """A network with weights of its own, on a device.

    Attributes:
        nbytes: memory it takes on the device, beside what it shares with its backbone.
    """

    @property
    def nbytes(self) -> int: ...

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return float32 of shape (n, dim). Thread-safe. Raises BackboneError."""
        ...

    def close(self) -> None:
        """Free the network."""
        ...


class Engine(Protocol):
    """Runs one backbone on one device: the whole of it, and the parts before and after its cut.

    Arrays go by name: into the whole and the prefix go those of the preprocessor, into what
    follows the cut `states` and, of texts, `mask`. The parts are made when they are first used.
    All methods are thread-safe and raise BackboneError.
    """

    @property
    def tail_blocks(self) -> tuple[str, ...]:
        """Names of the blocks after the cut; empty where there is none."""
        ...

    def parameters(self, *, whole: bool) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of all that can be tuned, by name: after the cut, or everywhere."""
        ...

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return float32 of shape (n, dim)."""
        ...

    def prefix(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the states at the cut, float32 of shape (n, ...)."""
        ...

    def finish(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Run the backbone's own blocks after the cut: float32 of shape (n, dim)."""
        ...

    def tail(self, tensors: Mapping[str, NDArray[np.float32]], *, whole: bool) -> Network:
        """Return what follows the cut, or everything, with `tensors` in place of the backbone's.

        Args:
            tensors: by name, of the shapes that `parameters` gives.
        """
        ...

    def warm_up(self, example: Mapping[str, NDArray[Any]], lengths: Sequence[int]) -> None:
        """Prepare for what will come.

        Args:
            example: collated inputs.
            lengths: the length buckets of texts; empty for images.
        """
        ...

    def close(self) -> None:
        """Free the network and its parts; tails are closed by whoever asked for them."""
        ...


@dataclass(frozen=True)
class Choice:
    """An engine on a device, both known to exist."""

    engine: str
    device: str

    @property
    def precision(self) -> Precision:
        """What this combination computes in."""
        fast = self.engine == "torch" and self.device == "cuda"
        return Precision.BFLOAT16 if fast else Precision.FLOAT32


def choose(engine: str, device: str) -> Choice:
    """Resolve `auto`: a GPU if there is one, with torch; else the CPU, with ONNX Runtime.

    Raises UnknownEngine or DeviceUnavailable.
    """
    if engine not in ("auto", "onnxruntime", "torch"):
        raise UnknownEngine(f"unknown engine {engine!r}: it is auto, onnxruntime or torch")
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceUnavailable(f"unknown device {device!r}: it is auto, cpu or cuda")
    if device == "cuda" and not gpu_count():
        raise DeviceUnavailable("device cuda: no GPU is visible to the CUDA driver")
    if device == "auto":
        device = "cuda" if gpu_count() else "cpu"
    if engine == "auto":
        engine = "torch" if device == "cuda" else "onnxruntime"
    return Choice(engine, device)


@functools.cache
def gpu_count() -> int:
    """Count the GPUs, by the CUDA driver itself: importing torch would take seconds."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
